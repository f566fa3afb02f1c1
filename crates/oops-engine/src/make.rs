//! Running one stage and publishing what it made, on a thread of its own.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::atomic::Ordering,
    time::Instant,
};

use oops_artifact::Entry;
use oops_core::{Class, Fault, Result, bail_if};
use oops_stage::{Cx, Inputs, Workdir, peak_rss_bytes, reset_peak_rss};
use oops_store::{FileRef, Provenance, Record};
use serde_json::Value;

use crate::{
    Event, Limits, Reason, Resolved, Session,
    needs::forecast,
    provenance::{other_bytes, provenance},
    resolve::{Action, Results},
    walk::Task,
    warnings::{merged, strict},
};

/// Name among a record's figures of the most memory that the program held.
const PEAK: &str = "peak_rss_bytes";

/// What came of a stage.
pub(crate) enum Made {
    /// It ran.
    Ran(Box<Resolved>, Reason),
    /// Another process made it in the meantime.
    Found(Box<Resolved>),
    /// These inputs are damaged.
    Lost(BTreeSet<usize>),
    /// It failed.
    Failed(Fault),
}

/// One stage with all that it needs.
pub(crate) struct Maker<'a> {
    session: Session<'a>,
    node: usize,
    task: Task,
    inputs: Results,
    /// Whether no other stage runs beside it.
    alone: bool,
    /// See [`Limits::strict`].
    strict: bool,
    /// See [`Cx::spill`].
    spill: bool,
}

impl<'a> Maker<'a> {
    /// For node `i`, whose inputs are in `results`.
    pub(crate) fn new(session: Session<'a>, i: usize, task: Task, results: &Results, limits: Limits) -> Self {
        let inputs = session.graph.nodes[i].uses().filter_map(|j| Some((j, results.get(&j)?.clone())));
        let spill = limits.exceeded(&task.needs).is_some();
        let (alone, strict) = (limits.jobs == 1, limits.strict);
        Self { session, node: i, task, inputs: inputs.collect(), alone, strict, spill }
    }

    pub(crate) fn make(&self) -> Result<Made> {
        let Session { graph, store, observer, cancel } = self.session;
        let Task { action, reason, .. } = &self.task;
        let node = &graph.nodes[self.node];
        let instance = node.name.as_str();
        let damaged = self.damaged_inputs();
        if !damaged.is_empty() {
            return Ok(Made::Lost(damaged));
        }
        let mut told = false;
        let _lock = store.lock(&action.key, || {
            if !std::mem::replace(&mut told, true) {
                observer.event(&Event::Waiting { instance });
            }
            bail_if(cancel.load(Ordering::Relaxed), || Fault::interrupted("stopped while another process makes it"))
        })?;
        let before = self.session.find(self.node, &action.key).ok();
        match before {
            Some(found) if *reason != Reason::Forced => return Ok(Made::Found(Box::new(found))),
            Some(_) => store.clear_scratch(&action.key),
            None => {}
        }
        observer.event(&Event::Started { instance, stage: node.stage.name(), reason });
        let made = self.run_stage(action)?;
        if let Some(before) = before.filter(|b| b.record.files != made.record.files) {
            let message = &other_bytes(&before.record.provenance, &made.record.provenance);
            observer.event(&Event::Warning { instance, message });
        }
        Ok(Made::Ran(Box::new(made), reason.clone()))
    }

    /// Runs the stage and publishes its output. The caller holds the action's lock.
    fn run_stage(&self, action: &Action) -> Result<Resolved> {
        let Session { graph, store, .. } = self.session;
        let node = &graph.nodes[self.node];
        let circumstances = provenance(graph.base());
        let start = Instant::now();
        let progress = self.session.observer.progress(&node.name);
        let work = Workdir::open(store.scratch(&action.key))?;
        let foretold = forecast(&self.task.needs, !work.is_empty());
        let cx = Cx::new(graph.seed, work, &*progress, self.session.cancel).on(graph.device).spilling(self.spill);
        if self.alone {
            reset_peak_rss();
        }
        let inputs = self.inputs(action);
        let ran = catch_unwind(AssertUnwindSafe(|| node.stage.run(&node.params, &inputs, &cx)))
            .unwrap_or_else(|payload| Err(panicked(&*payload)));
        if !ran.as_ref().is_err_and(|f| f.class() == Class::Interrupted) {
            store.unchanged(&action.key, foreign(&inputs))?;
        }
        ran?;
        let warnings = merged(&node.facts.warnings, &cx.warnings());
        bail_if(self.strict && !warnings.is_empty(), || strict(&warnings))?;
        let finished = cx.work.finish();
        let file = |(name, e): (&String, &Entry)| (name.clone(), FileRef { digest: e.digest, bytes: e.bytes });
        let record = Record {
            preimage: action.preimage.clone(),
            kind: node.stage.output().name().to_owned(),
            files: finished.tree.0.iter().map(file).collect(),
            warnings,
            measured: self.measured(&cx).chain(foretold).collect(),
            provenance: Provenance {
                instance: node.name.clone(),
                wall_s: start.elapsed().as_secs_f64(),
                source: node.stage.revision().map(|r| r.digest.clone()),
                ..circumstances
            },
        };
        store.publish(&record, &finished.fresh)?;
        let gone = |why| Fault::store(format!("the result was published, but {why}"));
        self.session.resolved(self.node, action.key, record).map_err(gone)
    }

    /// Figures of the run. Peak memory is that of the whole program, so it says something of a stage only where no other
    /// ran beside it.
    fn measured(&self, cx: &Cx<'_>) -> impl Iterator<Item = (String, Value)> + use<> {
        if self.alone && self.task.needs.heavy && !cx.measured().contains_key(PEAK) {
            cx.measure(PEAK, peak_rss_bytes());
        }
        let alone = self.alone;
        cx.measured().into_iter().filter(move |(name, _)| alone || name != PEAK)
    }

    fn inputs(&self, action: &Action) -> Inputs {
        let artifact = |j: &usize| Some(self.inputs.get(j)?.artifact.clone());
        let ports = self.session.graph.nodes[self.node].inputs.iter();
        let ports = ports.map(|(port, list)| ((*port).to_owned(), list.iter().filter_map(artifact).collect()));
        Inputs { ports: ports.collect(), sources: action.sources.clone() }
    }

    /// Inputs whose bytes are not what their digests say.
    fn damaged_inputs(&self) -> BTreeSet<usize> {
        let store = self.session.store;
        let damaged = self.inputs.iter().filter(|(_, r)| !r.record.files.values().all(|f| store.holds(f)));
        damaged.map(|(&j, _)| j).collect()
    }
}

/// Every file that a stage reads, with what it should be.
fn foreign(inputs: &Inputs) -> impl Iterator<Item = (&Path, FileRef)> {
    let file = |e: &Entry| FileRef { digest: e.digest, bytes: e.bytes };
    let artifacts = inputs.ports.values().flatten();
    let linked = artifacts
        .flat_map(move |a| a.paths.iter().filter_map(move |(n, p)| Some((p.as_path(), file(a.tree.0.get(n)?)))));
    linked.chain(inputs.sources.iter().map(move |s| (s.path.as_path(), file(&s.entry))))
}

/// A panic as a fault.
pub(crate) fn panicked(payload: &(dyn std::any::Any + Send)) -> Fault {
    let text = payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref::<&str>().copied());
    Fault::internal(format!("the stage panicked: {}", text.unwrap_or("without a message")))
        .help("this is a bug of this program: please report it with the pipeline file and this message")
}
