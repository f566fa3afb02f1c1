//! Looking without running: what a walk would do, and the artifact of a stage.

use oops_core::Result;

use crate::{Reason, Resolved, Session, resolve::Results};

/// What a walk would do with a stage.
pub enum State {
    /// Its result is in the store.
    Cached(Box<Resolved>),
    /// It would run.
    Stale(Reason),
    /// It would run unless this input comes out as before.
    Waits(String),
}

/// What a walk over all of `needed` (indices, with their inputs) would do, inputs first.
pub fn plan(session: Session<'_>, needed: impl IntoIterator<Item = usize>) -> Result<Vec<(usize, State)>> {
    let last = session.store.last_run(&session.graph.file);
    let mut results = Results::new();
    let mut out = Vec::new();
    for i in needed {
        let state = match session.action(i, &results)? {
            None => waits(session, i, &results),
            Some(action) => match session.find(i, &action.key) {
                Ok(found) => State::Cached(Box::new(found)),
                Err(damage) => State::Stale(session.reason(i, &action, last.as_ref(), damage)),
            },
        };
        if let State::Cached(found) = &state {
            results.insert(i, (**found).clone());
        }
        out.push((i, state));
    }
    Ok(out)
}

fn waits(session: Session<'_>, i: usize, results: &Results) -> State {
    let missing = session.graph.nodes[i].uses().find(|j| !results.contains_key(j));
    State::Waits(missing.map(|j| session.graph.nodes[j].name.clone()).unwrap_or_default())
}

/// What a stage and all that it is made from resolve to: the last entry is the stage itself.
pub fn artifact(session: Session<'_>, i: usize) -> Result<Vec<(usize, State)>> {
    plan(session, session.graph.with_ancestors([i]))
}
