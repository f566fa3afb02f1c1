//! Looking without running: what a walk would do, and the artifact of a stage.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use oops_core::{Digest, Result};
use oops_stage::{Source, SourceFile};
use oops_store::RunLog;

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

/// What was looked up so far, so that plans of many graphs over one store ask it everything once. A walk never uses it:
/// what was true when it was asked need not be when a stage runs.
#[derive(Default)]
pub struct Lookups {
    found: BTreeMap<Digest, Found>,
    sources: BTreeMap<PathBuf, SourceFile>,
    last: BTreeMap<PathBuf, Option<RunLog>>,
}

type Found = std::result::Result<Resolved, Option<String>>;

impl Lookups {
    fn find(&mut self, session: &Session<'_>, node: usize, key: &Digest) -> Found {
        self.found.entry(*key).or_insert_with(|| session.find(node, key)).clone()
    }

    fn source(&mut self, session: &Session<'_>, source: &Source) -> Result<SourceFile> {
        if let Some(file) = self.sources.get(&source.path) {
            return Ok(SourceFile { name: source.name.clone(), ..file.clone() });
        }
        let file = session.source(source)?;
        self.sources.insert(source.path.clone(), file.clone());
        Ok(file)
    }

    fn last_run(&mut self, session: &Session<'_>) -> Option<RunLog> {
        let file = &session.graph.file;
        self.last.entry(file.clone()).or_insert_with(|| session.store.last_run(file)).clone()
    }
}

/// What a walk over all of `needed` (indices, with their inputs) would do, inputs first.
pub fn plan(session: Session<'_>, needed: impl IntoIterator<Item = usize>) -> Result<Vec<Planned>> {
    plan_with(session, needed, &BTreeSet::new(), &mut Lookups::default())
}

/// The same; `forced` nodes would run whatever is in the store, and what earlier plans over the same store have looked up
/// is in `lookups`.
pub fn plan_with(
    session: Session<'_>,
    needed: impl IntoIterator<Item = usize>,
    forced: &BTreeSet<usize>,
    lookups: &mut Lookups,
) -> Result<Vec<Planned>> {
    let last = lookups.last_run(&session);
    let mut results = Results::new();
    // Digests of results, or identities of those still to be made.
    let mut digests: BTreeMap<usize, Digest> = BTreeMap::new();
    let mut out = Vec::new();
    for node in needed {
        let missing = session.graph.nodes[node].uses().find(|j| !results.contains_key(j));
        let source = &mut |source: &Source| lookups.source(&session, source);
        let Some(action) = session.action_with(node, &|j| digests.get(&j).copied(), source)? else { continue };
        let state = match missing {
            Some(j) => State::Waits(session.graph.nodes[j].name.clone()),
            None => match lookups.find(&session, node, &action.key) {
                Ok(_) | Err(None) if forced.contains(&node) => State::Stale(Reason::Forced),
                Ok(found) => State::Cached(Box::new(found)),
                Err(damage) => State::Stale(session.reason(node, &action, last.as_ref(), damage)),
            },
        };
        digests.insert(node, action.key);
        if let State::Cached(found) = &state {
            digests.insert(node, found.artifact.digest());
            results.insert(node, (**found).clone());
        }
        out.push(Planned { node, state, identity: action.key });
    }
    Ok(out)
}

/// What a stage and all that it is made from resolve to: the last entry is the stage itself.
pub fn artifact(session: Session<'_>, i: usize) -> Result<Vec<Planned>> {
    plan(session, session.graph.with_ancestors([i]))
}
