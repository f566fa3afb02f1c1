//! Looking without running: what a walk would do, and the artifact of a stage.

use oops_core::{Digest, Result};

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

/// A stage of a [`plan`].
pub struct Planned {
    /// Index of the node.
    pub node: usize,
    /// What would happen.
    pub state: State,
    /// The same for two stages (also of two graphs) exactly if one run would do for both, as far as that is known: the
    /// action key, in which an input that is still to be made stands for itself by its own identity.
    pub identity: Digest,
}

/// What a walk over all of `needed` (indices, with their inputs) would do, inputs first.
pub fn plan(session: Session<'_>, needed: impl IntoIterator<Item = usize>) -> Result<Vec<Planned>> {
    let last = session.store.last_run(&session.graph.file);
    let mut results = Results::new();
    let mut out: Vec<Planned> = Vec::new();
    for node in needed {
        let (state, identity) = match session.action(node, &results)? {
            None => (waits(session, node, &results), expected(session, node, &results, &out)?),
            Some(action) => match session.find(node, &action.key) {
                Ok(found) => (State::Cached(Box::new(found)), action.key),
                Err(damage) => (State::Stale(session.reason(node, &action, last.as_ref(), damage)), action.key),
            },
        };
        if let State::Cached(found) = &state {
            results.insert(node, (**found).clone());
        }
        out.push(Planned { node, state, identity });
    }
    Ok(out)
}

/// Identity of a node with inputs that are still to be made.
fn expected(session: Session<'_>, node: usize, results: &Results, before: &[Planned]) -> Result<Digest> {
    let identity = |j: usize| {
        let known = results.get(&j).map(|r| r.artifact.digest());
        known.or_else(|| before.iter().find(|p| p.node == j).map(|p| p.identity))
    };
    Ok(session.action_with(node, &identity)?.map_or_else(|| Digest::of(b""), |a| a.key))
}

fn waits(session: Session<'_>, i: usize, results: &Results) -> State {
    let missing = session.graph.nodes[i].uses().find(|j| !results.contains_key(j));
    State::Waits(missing.map(|j| session.graph.nodes[j].name.clone()).unwrap_or_default())
}

/// What a stage and all that it is made from resolve to: the last entry is the stage itself.
pub fn artifact(session: Session<'_>, i: usize) -> Result<Vec<Planned>> {
    plan(session, session.graph.with_ancestors([i]))
}
