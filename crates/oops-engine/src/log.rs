//! Writing a walk down.

use oops_store::{Provenance, RunLog, RunOutcome};

use crate::{Outcome, Session, provenance::provenance};

/// Writes down what the instances resolved to and how the walk went; instances that it did not need keep what `last` says.
/// A store that cannot be written has failed before, where it matters.
pub(crate) fn log(session: Session<'_>, last: Option<RunLog>, overrides: &[String], outcome: &Outcome) {
    let Session { graph, store, .. } = session;
    let Provenance { program, revision, .. } = provenance(graph.base());
    let mut keys = last.map(|l| l.keys).unwrap_or_default();
    keys.retain(|name, _| graph.nodes.iter().any(|n| n.name == *name));
    keys.extend(outcome.results.iter().map(|(&i, r)| (graph.nodes[i].name.clone(), r.key)));
    // All results that it used, also those that it was not allowed to make.
    let used = outcome.results.keys().map(|&i| graph.nodes[i].name.clone());
    let logged = RunOutcome {
        executed: outcome.executed.clone(),
        cached: used.filter(|name| !outcome.executed.contains(name)).collect(),
        failed: outcome.failed.iter().map(|(name, fault)| (name.clone(), fault.what().to_owned())).collect(),
        warnings: outcome.warnings.clone(),
        wall_s: outcome.wall_s,
        program,
        revision,
    };
    let (pipeline, overrides) = (graph.file.clone(), overrides.to_vec());
    let _ = store.log_run(&RunLog { pipeline, overrides, keys, outcome: Some(logged) });
}
