//! Many walks over one store, one after another. Independent walks could run side by side here: they share nothing but
//! the store, which is safe for that.

use std::sync::{Mutex, PoisonError};

use oops_core::{Class, Digest, Fault, Result};

use crate::{Outcome, Selection, Session, walk::walk};

/// Actions that failed in an earlier walk of a sweep, and how: they are not tried again.
#[derive(Default)]
pub(crate) struct Failures(Mutex<Vec<(Digest, Fault)>>);

impl Failures {
    pub(crate) fn of(&self, key: &Digest) -> Option<Fault> {
        let list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.iter().find(|(k, _)| k == key).map(|(_, fault)| fault.clone())
    }

    pub(crate) fn add(&self, key: Digest, fault: &Fault) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((key, fault.clone()));
    }
}

/// One walk of a sweep.
pub struct Job<'a> {
    /// What it works with.
    pub session: Session<'a>,
    /// What it makes.
    pub selection: Selection,
    /// Its overrides, only written down.
    pub overrides: Vec<String>,
}

/// Walks all jobs in order and tells `begin` before each and `end` after each. Stops behind the first failure unless
/// `keep_going`, behind an interruption always. Fails only if a selection is wrong or `end` fails.
pub fn run_all(
    jobs: &[Job<'_>],
    keep_going: bool,
    begin: &mut dyn FnMut(usize),
    end: &mut dyn FnMut(usize, Outcome) -> Result<()>,
) -> Result<()> {
    let failures = Failures::default();
    for (i, job) in jobs.iter().enumerate() {
        begin(i);
        let outcome = walk(job.session, &job.selection, &job.overrides, &failures)?;
        let class = outcome.failed.as_ref().map(|(_, fault)| fault.class());
        end(i, outcome)?;
        if class.is_some_and(|c| !keep_going || c == Class::Interrupted) {
            break;
        }
    }
    Ok(())
}
