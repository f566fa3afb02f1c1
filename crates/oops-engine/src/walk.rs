//! The walk: every needed stage, inputs first, is looked up and, if it may and must, run.

use std::{collections::BTreeSet, sync::atomic::Ordering, time::Instant};

use oops_core::{Fault, Result};
use oops_store::{Provenance, RunLog, RunOutcome};

use crate::{
    Event, Reason, Resolved, Selection, Session,
    provenance::provenance,
    resolve::{Action, Results},
    selection::Selected,
    sweep::Failures,
};

/// What a walk did. Only stages that were allowed to run are counted.
pub struct Outcome {
    /// Instances that ran, in order.
    pub executed: Vec<String>,
    /// Instances whose results were in the store, inputs first.
    pub cached: Vec<String>,
    /// The instance that failed, and how.
    pub failed: Option<(String, Fault)>,
    /// Seconds from start to end.
    pub wall_s: f64,
    /// Results by node index.
    pub results: Results,
}

struct Walk<'a> {
    session: Session<'a>,
    selected: Selected,
    last: Option<RunLog>,
    results: Results,
    executed: Vec<usize>,
    /// Times that each node's result had to be taken out of service: more than once means that the disk is broken.
    retries: Vec<usize>,
    failures: &'a Failures,
}

/// Runs what is selected and not in the store. `overrides` are only written down. Fails only if the selection is wrong;
/// a stage that fails is part of the outcome.
pub fn run(session: Session<'_>, selection: &Selection, overrides: &[String]) -> Result<Outcome> {
    walk(session, selection, overrides, &Failures::default())
}

/// The same, beside other walks whose failures are known.
pub(crate) fn walk(
    session: Session<'_>,
    selection: &Selection,
    overrides: &[String],
    failures: &Failures,
) -> Result<Outcome> {
    let start = Instant::now();
    let mut walk = Walk {
        session,
        selected: selection.select(session.graph)?,
        last: session.store.last_run(&session.graph.file),
        results: Results::new(),
        executed: Vec::new(),
        retries: vec![0; session.graph.nodes.len()],
        failures,
    };
    let failed = walk.all().err().map(|(i, fault)| {
        let name = session.graph.nodes[i].name.clone();
        (name.clone(), fault.at(format!("stage `{name}`")))
    });
    walk.log(overrides, failed.as_ref(), start.elapsed().as_secs_f64());
    let name = |i: &usize| session.graph.nodes[*i].name.clone();
    let ran: BTreeSet<usize> = walk.executed.iter().copied().collect();
    let cached = walk.results.keys().filter(|i| walk.selected.may_run.contains(i) && !ran.contains(i));
    Ok(Outcome {
        executed: walk.executed.iter().map(name).collect(),
        cached: cached.map(name).collect(),
        failed,
        wall_s: start.elapsed().as_secs_f64(),
        results: walk.results,
    })
}

impl Walk<'_> {
    fn all(&mut self) -> std::result::Result<(), (usize, Fault)> {
        while let Some(i) = self.selected.needed.iter().copied().find(|i| !self.results.contains_key(i)) {
            self.settle(i).map_err(|fault| (i, fault))?;
        }
        Ok(())
    }

    /// Finds or makes the result of node `i`, whose inputs have results. Afterwards it has one, or an input has lost
    /// its own.
    fn settle(&mut self, i: usize) -> Result<()> {
        if self.session.cancel.load(Ordering::Relaxed) {
            return Err(Fault::interrupted("stopped").help("run the same command again to go on"));
        }
        let no_input = || Fault::internal("a stage came before its inputs");
        let action = self.session.action(i, &self.results)?.ok_or_else(no_input)?;
        let forced = self.selected.forced.contains(&i) && !self.executed.contains(&i);
        let found = self.session.find(i, &action.key);
        let damage = match found {
            Ok(found) if !forced => {
                self.cached(i, found);
                return Ok(());
            }
            Ok(_) | Err(None) => None,
            Err(Some(damage)) => Some(damage),
        };
        if let Some(damage) = &damage {
            self.warn(i, &format!("the stored result is not used: {damage}"));
        }
        let reason = self.session.reason(i, &action, self.last.as_ref(), damage);
        self.make(i, &action, &if forced { Reason::Forced } else { reason })
    }

    fn cached(&mut self, i: usize, found: Resolved) {
        if !self.executed.contains(&i) && self.selected.may_run.contains(&i) {
            self.session.observer.event(&Event::Cached { instance: &self.session.graph.nodes[i].name });
        }
        self.results.insert(i, found);
    }

    fn make(&mut self, i: usize, action: &Action, reason: &Reason) -> Result<()> {
        let Session { graph, store, observer, .. } = self.session;
        let instance = graph.nodes[i].name.as_str();
        if !self.selected.may_run.contains(&i) {
            return Err(Fault::data(format!("`{instance}` is needed, but it is not in the store ({reason})"))
                .help("run it first: without --only or --from"));
        }
        if let Some(fault) = self.failures.of(&action.key) {
            return Err(fault);
        }
        if self.lost_inputs(i)? {
            return Ok(());
        }
        let _lock = store.lock(&action.key, || observer.event(&Event::Waiting { instance }))?;
        let before = self.session.find(i, &action.key).ok();
        match before {
            Some(found) if *reason != Reason::Forced => {
                self.cached(i, found);
                return Ok(());
            }
            Some(_) => store.clear_scratch(&action.key),
            None => {}
        }
        observer.event(&Event::Started { instance, stage: graph.nodes[i].stage.name(), reason });
        let made = self.session.run_stage(i, action, &self.results);
        let made = made.inspect_err(|fault| self.failures.add(action.key, fault))?;
        if before.is_some_and(|b| b.record.files != made.record.files) {
            self.warn(i, "the same inputs gave other bytes than last time: please report this as a bug of the stage");
        }
        observer.event(&Event::Finished { instance, reason, wall_s: made.record.provenance.wall_s });
        self.executed.push(i);
        self.results.insert(i, made);
        Ok(())
    }

    /// Whether an input of node `i` turned out to be damaged. Then it (and whatever shares its bytes, and all that is
    /// made from it) has no result any more.
    fn lost_inputs(&mut self, i: usize) -> Result<bool> {
        let damaged = self.session.take_out_damaged_inputs(i, &self.results)?;
        for (&j, name) in &damaged {
            self.warn(j, &format!("its file `{name}` is damaged; it will be made again"));
            self.retries[j] += 1;
            if self.retries[j] > 2 {
                return Err(Fault::store(format!("`{name}` is damaged again right after it was made"))
                    .at(self.session.store.root().display())
                    .help("check the disk, or choose another store with --cache DIR or OOPS_CACHE"));
            }
        }
        let store = self.session.store;
        let lost = self.results.iter().filter(|(_, r)| r.record.files.values().any(|f| store.locate(f).is_none()));
        let lost: Vec<usize> = lost.map(|(&j, _)| j).chain(damaged.keys().copied()).collect();
        if lost.is_empty() {
            return Ok(false);
        }
        let without = self.session.graph.with_descendants(lost);
        self.results.retain(|j, _| !without.contains(j));
        Ok(true)
    }

    fn warn(&self, i: usize, message: &str) {
        self.session.observer.event(&Event::Warning { instance: &self.session.graph.nodes[i].name, message });
    }

    /// Writes down what the instances resolved to. A store that cannot be written has failed before, where it matters.
    fn log(&self, overrides: &[String], failed: Option<&(String, Fault)>, wall_s: f64) {
        let Session { graph, store, .. } = self.session;
        let name = |i: &usize| graph.nodes[*i].name.clone();
        let Provenance { program, revision, .. } = provenance(graph.base());
        let outcome = RunOutcome {
            executed: self.executed.iter().map(name).collect(),
            cached: self.results.keys().filter(|i| !self.executed.contains(i)).map(name).collect(),
            failed: failed.map(|(name, fault)| (name.clone(), fault.what().to_owned())),
            wall_s,
            program,
            revision,
        };
        let mut keys = self.last.as_ref().map(|l| l.keys.clone()).unwrap_or_default();
        keys.retain(|name, _| graph.nodes.iter().any(|n| n.name == *name));
        keys.extend(self.results.iter().map(|(&i, r)| (graph.nodes[i].name.clone(), r.key)));
        let (pipeline, overrides) = (graph.file.clone(), overrides.to_vec());
        let _ = store.log_run(&RunLog { pipeline, overrides, keys, outcome: Some(outcome) });
    }
}
