//! What stages of a graph will take, and how long by the records of earlier runs.

use std::collections::BTreeMap;

use oops_pipeline::Graph;
use oops_stage::{Needs, PortFacts};
use oops_store::{Record, Store};
use serde_json::{Value, json};

use crate::provenance::host;

/// Name among a record's figures of what was foretold of the run: work and memory.
const FORECAST: &str = "forecast";
/// Records that a rate is the median of, newest first.
const RECENT: usize = 5;

/// What a run of node `i` will take.
pub fn needs(graph: &Graph<'_>, i: usize) -> Needs {
    let node = &graph.nodes[i];
    let facts = |list: &Vec<usize>| list.iter().map(|&j| graph.nodes[j].facts.clone()).collect();
    let ports = node.inputs.iter().map(|(port, list)| ((*port).to_owned(), facts(list)));
    node.stage.needs(&node.params, &PortFacts(ports.collect())).unwrap_or_default()
}

/// What the record of a run says of its forecast. A resumed run took less than all of the time: its record says nothing.
pub(crate) fn forecast(needs: &Needs, resumed: bool) -> Option<(String, Value)> {
    let told = (needs.work.is_some() || needs.memory_bytes.is_some()) && !resumed;
    told.then(|| (FORECAST.to_owned(), json!({ "work": needs.work, "memory_bytes": needs.memory_bytes })))
}

/// Seconds per unit of work, by stage, from the records in a store.
pub struct Rates(BTreeMap<String, f64>);

impl Rates {
    /// Reads all records. Those of this machine count; of a stage that never ran here, those of others.
    pub fn of(store: &Store) -> Self {
        let mut runs: BTreeMap<String, Vec<Run>> = BTreeMap::new();
        for record in store.published() {
            if let Some((stage, run)) = Run::of(&record) {
                runs.entry(stage).or_default().push(run);
            }
        }
        Self(runs.into_iter().map(|(stage, runs)| (stage, rate(runs))).collect())
    }

    /// Seconds that a stage will take; `None` if it never ran, or its work is not known.
    pub fn seconds(&self, stage: &str, needs: &Needs) -> Option<f64> {
        Some(self.0.get(stage)? * needs.work?)
    }
}

struct Run {
    here: bool,
    started_unix_s: u64,
    rate: f64,
}

impl Run {
    fn of(record: &Record) -> Option<(String, Self)> {
        let work = record.measured.get(FORECAST)?.get("work")?.as_f64().filter(|w| *w > 0.0)?;
        let preimage: Value = serde_json::from_str(&record.preimage).ok()?;
        let made = &record.provenance;
        let (here, rate) = (made.host == host(), made.wall_s / work);
        Some((preimage.get("stage")?.as_str()?.to_owned(), Self { here, started_unix_s: made.started_unix_s, rate }))
    }
}

/// Median of the newest runs.
fn rate(mut runs: Vec<Run>) -> f64 {
    if runs.iter().any(|r| r.here) {
        runs.retain(|r| r.here);
    }
    runs.sort_by_key(|r| std::cmp::Reverse(r.started_unix_s));
    runs.truncate(RECENT);
    runs.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    runs[runs.len() / 2].rate
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_the_median_of_the_newest_runs_here() {
        let run = |here, started_unix_s, rate| Run { here, started_unix_s, rate };
        assert!(
            (rate(vec![run(false, 9, 7.0), run(true, 1, 2.0), run(true, 2, 4.0), run(true, 3, 3.0)]) - 3.0).abs()
                < 1e-12
        );
        assert!((rate(vec![run(false, 9, 7.0)]) - 7.0).abs() < 1e-12);
        let many = (0..20).map(|k| run(true, k, if k < 15 { 100.0 } else { 1.0 })).collect();
        assert!((rate(many) - 1.0).abs() < 1e-12);
    }
}
