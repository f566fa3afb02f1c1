//! One walk: which nodes of a graph have results, are being made, failed, or are still open.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use oops_core::{Digest, Fault, Result, bail_if};
use oops_stage::Needs;
use oops_store::RunLog;

use crate::{
    Event, Reason, Resolved, Session,
    log::log,
    needs::needs,
    resolve::{Action, Results},
    schedule::Failures,
    selection::Selected,
    warnings::{other_source, strict, warnings},
};

/// What a walk did. Only stages that were allowed to run are counted; all lists have inputs first.
pub struct Outcome {
    /// Instances that ran. Of walks side by side, an action counts for the first that needs it.
    pub executed: Vec<String>,
    /// Instances whose results were in the store.
    pub cached: Vec<String>,
    /// Instances that failed, and how.
    pub failed: Vec<(String, Fault)>,
    /// Warnings of all instances that it needed, with their names, also of those that did not run this time.
    pub warnings: Vec<(String, String)>,
    /// Instances that were not reached, because something failed or the walk was stopped.
    pub open: Vec<String>,
    /// Seconds from start to end.
    pub wall_s: f64,
    /// Results by node index.
    pub results: Results,
}

/// A node that has to run.
#[derive(Clone)]
pub(crate) struct Task {
    pub(crate) action: Action,
    pub(crate) reason: Reason,
    pub(crate) needs: Needs,
}

/// What became of a node whose inputs have results.
pub(crate) enum Settled {
    /// It has a result now.
    Found,
    /// It failed.
    Failed,
    /// It has to run.
    Task(Task),
}

pub(crate) struct Walk<'a> {
    pub(crate) session: Session<'a>,
    selected: Selected,
    /// See [`crate::Limits::strict`].
    strict: bool,
    last: Option<RunLog>,
    pub(crate) results: Results,
    /// Action keys of all nodes that were looked at.
    keys: BTreeMap<usize, Digest>,
    /// Nodes that this walk itself made.
    ran: BTreeSet<usize>,
    /// Nodes that are being made.
    running: BTreeSet<usize>,
    /// Nodes that wait for their turn.
    waiting: BTreeMap<usize, Task>,
    failed: BTreeMap<usize, Fault>,
    /// Times that each node's result had to be taken out of service: more than once means that the disk is broken.
    retries: Vec<usize>,
    start: Instant,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(session: Session<'a>, selected: Selected, strict: bool) -> Self {
        Self {
            session,
            selected,
            strict,
            last: session.store.last_run(&session.graph.file),
            results: Results::new(),
            keys: BTreeMap::new(),
            ran: BTreeSet::new(),
            running: BTreeSet::new(),
            waiting: BTreeMap::new(),
            failed: BTreeMap::new(),
            retries: vec![0; session.graph.nodes.len()],
            start: Instant::now(),
        }
    }

    /// Needed nodes without result, inputs first.
    fn unsettled(&self) -> impl Iterator<Item = usize> + '_ {
        let settled = |i: &usize| self.results.contains_key(i) || self.failed.contains_key(i);
        self.selected.needed.iter().copied().filter(move |i| !settled(i))
    }

    /// Nodes that could be settled now.
    pub(crate) fn ready(&self) -> impl Iterator<Item = usize> + '_ {
        let whole = |i: usize| self.session.graph.nodes[i].uses().all(|j| self.results.contains_key(&j));
        self.unsettled().filter(move |&i| !self.running.contains(&i) && whole(i))
    }

    /// Whether something is being made.
    pub(crate) fn is_running(&self) -> bool {
        !self.running.is_empty()
    }

    /// Whether every needed node has a result.
    pub(crate) fn is_complete(&self) -> bool {
        self.unsettled().next().is_none() && self.failed.is_empty()
    }

    /// Finds the result of node `i`, whose inputs have results, or says what has to run.
    pub(crate) fn settle(&mut self, i: usize, failures: &Failures) -> Settled {
        if let Some(task) = self.waiting.get(&i) {
            return Settled::Task(task.clone());
        }
        match self.look(i, failures) {
            Ok(Some(task)) => {
                self.waiting.insert(i, task.clone());
                Settled::Task(task)
            }
            Ok(None) => Settled::Found,
            Err(fault) => {
                self.fail(i, fault);
                Settled::Failed
            }
        }
    }

    fn look(&mut self, i: usize, failures: &Failures) -> Result<Option<Task>> {
        let no_input = || Fault::internal("a stage came before its inputs");
        let action = self.session.action(i, &self.results)?.ok_or_else(no_input)?;
        self.keys.insert(i, action.key);
        let forced = self.selected.forced.contains(&i) && !self.ran.contains(&i);
        let damage = match self.session.find(i, &action.key) {
            Ok(found) if !forced => {
                let warned = self.strict && !found.record.warnings.is_empty();
                bail_if(warned, || strict(&found.record.warnings))?;
                self.found(i, found);
                return Ok(None);
            }
            Ok(_) | Err(None) => None,
            Err(Some(damage)) => Some(damage),
        };
        if let Some(damage) = &damage {
            self.warn(i, &format!("the stored result is not used: {damage}"));
        }
        let reason = self.session.reason(i, &action, self.last.as_ref(), damage);
        if !self.selected.may_run.contains(&i) {
            let instance = &self.session.graph.nodes[i].name;
            return Err(Fault::data(format!("`{instance}` is needed, but it is not in the store ({reason})"))
                .help("run it first: without --only or --from"));
        }
        if let Some(fault) = failures.get(&action.key) {
            return Err(fault.clone());
        }
        let reason = if forced { Reason::Forced } else { reason };
        Ok(Some(Task { action, reason, needs: needs(self.session.graph, i) }))
    }

    /// Takes the task of node `i` up.
    pub(crate) fn begin(&mut self, i: usize) {
        self.waiting.remove(&i);
        self.running.insert(i);
    }

    /// Lays the task of node `i` down, whatever came of it.
    pub(crate) fn end(&mut self, i: usize) {
        self.running.remove(&i);
    }

    /// Forgets what is known of an action that waits: its result may be there now.
    pub(crate) fn ask_again(&mut self, key: &Digest) {
        self.waiting.retain(|_, task| task.action.key != *key);
    }

    /// A result that was in the store; its warnings are told again.
    pub(crate) fn found(&mut self, i: usize, found: Resolved) {
        if !self.ran.contains(&i) && self.selected.may_run.contains(&i) {
            self.session.observer.event(&Event::Cached { instance: &self.session.graph.nodes[i].name });
        }
        found.record.warnings.iter().for_each(|message| self.warn(i, message));
        if let Some(message) = other_source(self.session.graph.nodes[i].stage, &found.record) {
            self.warn(i, &message);
        }
        self.results.insert(i, found);
    }

    /// A result that this walk made.
    pub(crate) fn made(&mut self, i: usize, made: Resolved, reason: &Reason) {
        let (instance, wall_s) = (self.session.graph.nodes[i].name.as_str(), made.record.provenance.wall_s);
        self.session.observer.event(&Event::Finished { instance, reason, wall_s });
        self.ran.insert(i);
        self.results.insert(i, made);
    }

    /// The end of node `i` in this walk.
    pub(crate) fn fail(&mut self, i: usize, fault: Fault) {
        let name = &self.session.graph.nodes[i].name;
        let fault = fault.at(format!("stage `{name}`"));
        self.session.observer.event(&Event::Failed { instance: name, fault: &fault });
        self.failed.insert(i, fault);
    }

    /// Says that the walk was stopped, at the first node that has no result.
    pub(crate) fn interrupt(&mut self) {
        let first = self.unsettled().next();
        if let Some(i) = first {
            self.fail(i, Fault::interrupted("stopped").help("run the same command again to go on"));
        }
    }

    /// Results turned out to be damaged: their bytes are taken out of service, and they (and whatever shares these bytes,
    /// and all that is made from them) are results no more. Several stages may say so of one; it is lost once.
    pub(crate) fn lose(&mut self, damaged: &BTreeSet<usize>) -> Result<()> {
        for &j in damaged {
            self.discard(j)?;
        }
        let store = self.session.store;
        let lost = self.results.iter().filter(|(_, r)| r.record.files.values().any(|f| store.locate(f).is_none()));
        let without = self.session.graph.with_descendants(lost.map(|(&j, _)| j).collect::<Vec<_>>());
        self.results.retain(|j, _| !without.contains(j));
        self.waiting.retain(|j, _| !without.contains(j));
        Ok(())
    }

    /// Takes the damaged files of a result out of service, if they still are.
    fn discard(&mut self, j: usize) -> Result<()> {
        let store = self.session.store;
        let files = self.results.get(&j).into_iter().flat_map(|r| &r.record.files);
        let damaged: Vec<_> = files.filter(|(_, f)| !store.holds(f)).map(|(n, f)| (n.clone(), f.digest)).collect();
        let Some((name, _)) = damaged.first() else { return Ok(()) };
        self.warn(j, &format!("its file `{name}` is damaged; it will be made again"));
        self.retries[j] += 1;
        if self.retries[j] > 2 {
            return Err(Fault::store(format!("`{name}` is damaged again right after it was made"))
                .at(store.root().display())
                .help("check the disk, or choose another store with --cache DIR or OOPS_CACHE"));
        }
        damaged.iter().try_for_each(|(_, digest)| store.discard(digest))
    }

    pub(crate) fn warn(&self, i: usize, message: &str) {
        self.session.observer.event(&Event::Warning { instance: &self.session.graph.nodes[i].name, message });
    }

    /// Ends the walk. `made` are actions that were run and that no walk before this one counts.
    pub(crate) fn finish(self, overrides: &[String], made: &mut BTreeSet<Digest>) -> Outcome {
        let graph = self.session.graph;
        let name = |i: usize| graph.nodes[i].name.clone();
        let ran: BTreeSet<usize> = self.keys.iter().filter(|(_, key)| made.remove(*key)).map(|(&i, _)| i).collect();
        let counts = |i: &usize| self.selected.may_run.contains(i) && !ran.contains(i);
        let open = self.unsettled().filter(|i| self.selected.may_run.contains(i)).map(name).collect();
        let cached = self.results.keys().copied().filter(counts).map(name).collect();
        let said = |i: usize| warnings(&graph.nodes[i], self.results.get(&i).map(|r| &r.record));
        let all = self.selected.needed.iter().flat_map(|&i| said(i).into_iter().map(move |message| (name(i), message)));
        let warnings = all.collect();
        let (last, session) = (self.last, self.session);
        let outcome = Outcome {
            warnings,
            executed: ran.iter().copied().map(name).collect(),
            cached,
            open,
            failed: self.failed.into_iter().map(|(i, fault)| (name(i), fault)).collect(),
            wall_s: self.start.elapsed().as_secs_f64(),
            results: self.results,
        };
        log(session, last, overrides, &outcome);
        outcome
    }
}
