//! Garbage collection: what nobody needs any more, by reachability, age and size.
//!
//! What a living process uses stays (see `usage.rs`). Records go first, then the blobs that no remaining record refers
//! to, then everything else: killed at any moment, the store is valid, and the next collection finds the rest.

mod choose;
mod survey;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use oops_core::{Fault, Result};

use crate::Store;

/// What may go beyond what nobody can need.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    /// Results that were not used for this long.
    pub older_than: Option<Duration>,
    /// The results that were used least recently, until the store is no larger than this.
    pub keep_bytes: Option<u64>,
}

/// Why something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// A result that was not used for longer than [`Policy::older_than`].
    Old,
    /// A result that no recorded run refers to.
    Unrecorded,
    /// A result without which the store fits into [`Policy::keep_bytes`].
    Beyond,
    /// A blob that no record refers to.
    Orphan,
    /// The work folder of an action that nobody goes on with.
    Unfinished,
    /// A temporary file, session or lock of a dead process, or the work folder of a published action.
    Leftover,
    /// What `verify` took out of service.
    Damaged,
    /// The log of a run that is older than [`Policy::older_than`], is not its pipeline's last, and of whose results none is left.
    Run,
}

/// What goes for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Results (records with their blobs), or files and folders of other sorts.
    pub items: usize,
    /// Bytes that this frees.
    pub bytes: u64,
    /// When the oldest of them was last used.
    pub oldest: Option<SystemTime>,
}

/// What goes, and what stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Garbage {
    /// By reason.
    pub groups: BTreeMap<Why, Group>,
    /// Results that stay.
    pub kept: usize,
    /// Bytes of blobs and work folders that stay.
    pub kept_bytes: u64,
    /// Results that stay because living processes use them.
    pub used: usize,
}

impl Garbage {
    /// Bytes that are freed.
    pub fn bytes(&self) -> u64 {
        self.groups.values().map(|g| g.bytes).sum()
    }
}

/// A file or folder that goes.
#[derive(Debug)]
struct Victim {
    why: Why,
    path: PathBuf,
    bytes: u64,
    used: Option<SystemTime>,
}

/// Victims in the order in which they must go.
#[derive(Debug, Default)]
struct Choice {
    victims: Vec<Victim>,
    kept: usize,
    kept_bytes: u64,
    used: usize,
}

impl Choice {
    fn summary(&self) -> Garbage {
        let mut groups: BTreeMap<Why, Group> = BTreeMap::new();
        for victim in &self.victims {
            let group = groups.entry(victim.why).or_default();
            group.bytes += victim.bytes;
            // Blobs of a result count with its record.
            let part = matches!(victim.why, Why::Old | Why::Unrecorded | Why::Beyond) && victim.used.is_none();
            group.items += usize::from(!part);
            group.oldest = [group.oldest, victim.used].into_iter().flatten().min();
        }
        Garbage { groups, kept: self.kept, kept_bytes: self.kept_bytes, used: self.used }
    }
}

impl Store {
    /// What [`Self::collect`] would delete now.
    pub fn garbage(&self, policy: &Policy) -> Result<Garbage> {
        let _shared = self.share();
        Ok(choose::choose(self.survey()?, policy, SystemTime::now()).summary())
    }

    /// Deletes garbage, and what the policy allows. `waiting` is called once if others hold the store for long. Fails
    /// without deleting anything if not all of the store can be read.
    pub fn collect(&self, policy: &Policy, waiting: &mut dyn FnMut()) -> Result<Garbage> {
        if !self.root().exists() {
            return Ok(Garbage::default());
        }
        let _alone = self.alone(waiting)?;
        let choice = choose::choose(self.survey()?, policy, SystemTime::now());
        choice.victims.iter().try_for_each(|v| self.delete(&v.path))?;
        Ok(choice.summary())
    }

    fn delete(&self, path: &Path) -> Result<()> {
        if path.starts_with(self.locks()) {
            Self::delete_lock(path);
            return Ok(());
        }
        delete(path)
    }
}

fn delete(path: &Path) -> Result<()> {
    let deleted = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match deleted {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Fault::store(format!("cannot delete: {e}"))
            .at(path.display())
            .help("check the permissions; what was deleted so far was not needed, and the store is valid")),
        _ => Ok(()),
    }
}
