//! Running one stage and publishing what it made.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use oops_core::{Fault, Result};
use oops_stage::{Cx, Inputs, Workdir};
use oops_store::{FileRef, Provenance, Record};

use crate::{
    Session,
    provenance::provenance,
    resolve::{Action, Resolved, Results},
};

impl Session<'_> {
    /// Runs node `i` and publishes its output. The caller holds the action's lock.
    pub(crate) fn run_stage(&self, i: usize, action: &Action, results: &Results) -> Result<Resolved> {
        let node = &self.graph.nodes[i];
        let circumstances = provenance(self.graph.base());
        let start = Instant::now();
        let artifacts = |list: &[usize]| list.iter().filter_map(|j| Some(results.get(j)?.artifact.clone())).collect();
        let ports = node.inputs.iter().map(|(port, list)| ((*port).to_owned(), artifacts(list)));
        let inputs = Inputs { ports: ports.collect(), sources: action.sources.clone() };
        let progress = self.observer.progress(&node.name);
        let work = Workdir::open(self.store.scratch(&action.key))?;
        let cx = Cx::new(self.graph.seed, work, &*progress, self.cancel);
        catch_unwind(AssertUnwindSafe(|| node.stage.run(&node.params, &inputs, &cx)))
            .unwrap_or_else(|payload| Err(panicked(&*payload)))?;
        let finished = cx.work.finish();
        let file =
            |(name, e): (&String, &oops_artifact::Entry)| (name.clone(), FileRef { digest: e.digest, bytes: e.bytes });
        let record = Record {
            preimage: action.preimage.clone(),
            kind: node.stage.output().name().to_owned(),
            files: finished.tree.0.iter().map(file).collect(),
            measured: cx.measured(),
            provenance: Provenance {
                instance: node.name.clone(),
                wall_s: start.elapsed().as_secs_f64(),
                ..circumstances
            },
        };
        self.store.publish(&record, &finished.fresh)?;
        self.resolved(i, action.key, record).map_err(|why| Fault::store(format!("the result was published, but {why}")))
    }

    /// Inputs of node `i` whose bytes are not what their digests say; they are taken out of service.
    pub(crate) fn take_out_damaged_inputs(&self, i: usize, results: &Results) -> Result<BTreeMap<usize, String>> {
        let mut damaged = BTreeMap::new();
        for j in self.graph.nodes[i].uses() {
            let files = results.get(&j).into_iter().flat_map(|r| &r.record.files);
            for (name, file) in files.filter(|(_, f)| !self.store.holds(f)) {
                self.store.discard(&file.digest)?;
                damaged.insert(j, name.clone());
            }
        }
        Ok(damaged)
    }
}

fn panicked(payload: &(dyn std::any::Any + Send)) -> Fault {
    let text = payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref::<&str>().copied());
    Fault::internal(format!("the stage panicked: {}", text.unwrap_or("without a message")))
        .help("this is a bug of this program: please report it with the pipeline file and this message")
}
