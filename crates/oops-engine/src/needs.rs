//! What stages of a graph will take, and how long by the records of earlier runs.

use std::collections::BTreeMap;

use oops_core::Digest;
use oops_pipeline::Graph;
use oops_stage::{Needs, PortFacts, rss_bytes};
use oops_store::{Provenance, Record, Store};
use serde_json::{Value, json};

use crate::provenance::host;

/// Name among a record's figures of what was foretold of the run.
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

/// What the record of a heavy stage says of its forecast, with the memory that the program held already. The record of a
/// resumed run says nothing: its seconds are only the last part.
pub(crate) fn forecast(needs: &Needs, resumed: bool) -> Option<(String, Value)> {
    let Needs { work, memory_bytes, .. } = needs;
    let told = json!({ "work": work, "memory_bytes": memory_bytes, "rss_before_bytes": rss_bytes() });
    (needs.heavy && !resumed).then(|| (FORECAST.to_owned(), told))
}

/// How long heavy stages took, from the records in a store.
pub struct Rates(BTreeMap<String, Vec<Run>>);

/// A forecast of seconds, and what it rests on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Seconds {
    /// Work at the rate of earlier runs of the stage.
    Scaled(f64),
    /// What the last run of this very action took: its work is not known, and another model, other tokens or other
    /// parameters would take another time.
    Last(f64),
}

impl Seconds {
    /// The number.
    pub fn value(self) -> f64 {
        let (Self::Scaled(seconds) | Self::Last(seconds)) = self;
        seconds
    }
}

impl Rates {
    /// Reads all records. Those of this machine count; of a stage that never ran here, those of others.
    pub fn of(store: &Store) -> Self {
        let mut runs: BTreeMap<String, Vec<Run>> = BTreeMap::new();
        for record in store.published() {
            if let Some((stage, run)) = Run::of(record) {
                runs.entry(stage).or_default().push(run);
            }
        }
        for list in runs.values_mut() {
            if list.iter().any(|r| r.here) {
                list.retain(|r| r.here);
            }
            list.sort_by(|a, b| (b.started_unix_s, &b.key).cmp(&(a.started_unix_s, &a.key)));
        }
        Self(runs)
    }

    /// Seconds that an action of a stage will take; `None` if no earlier run tells.
    pub fn seconds(&self, stage: &str, key: &Digest, needs: &Needs) -> Option<Seconds> {
        let runs = self.0.get(stage)?;
        match needs.work {
            Some(work) => rate(runs).map(|rate| Seconds::Scaled(rate * work)),
            None => runs.iter().find(|r| r.key == *key).map(|r| Seconds::Last(r.wall_s)),
        }
    }
}

struct Run {
    here: bool,
    started_unix_s: u64,
    key: Digest,
    work: Option<f64>,
    wall_s: f64,
}

impl Run {
    fn of(record: Record) -> Option<(String, Self)> {
        let work = record.measured.get(FORECAST)?.get("work")?.as_f64().filter(|w| *w > 0.0);
        let preimage: Value = serde_json::from_str(&record.preimage).ok()?;
        let key = record.key();
        let Provenance { host: name, started_unix_s, wall_s, .. } = record.provenance;
        let run = Self { here: name == host(), started_unix_s, key, work, wall_s };
        Some((preimage.get("stage")?.as_str()?.to_owned(), run))
    }
}

/// Seconds per unit of work: the median of the newest runs.
fn rate(runs: &[Run]) -> Option<f64> {
    let mut rates: Vec<f64> = runs.iter().filter_map(|r| Some(r.wall_s / r.work?)).take(RECENT).collect();
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(started_unix_s: u64, work: Option<f64>, wall_s: f64) -> Run {
        Run { here: true, started_unix_s, key: Digest::of(&started_unix_s.to_le_bytes()), work, wall_s }
    }

    #[test]
    fn seconds_follow_from_the_newest_runs_or_from_the_last_of_that_action() {
        let runs = vec![run(5, None, 9.0), run(4, Some(2.0), 8.0), run(3, Some(1.0), 3.0), run(2, Some(10.0), 50.0)];
        let rates = Rates(BTreeMap::from([("eval.perplexity".to_owned(), runs)]));
        let needs = |work| Needs { work, ..Needs::HEAVY };
        let (same, other) = (Digest::of(&5_u64.to_le_bytes()), Digest::of(b"another model"));
        let seconds = |key, work| rates.seconds("eval.perplexity", key, &needs(work));
        assert_eq!(seconds(&other, Some(3.0)), Some(Seconds::Scaled(12.0)), "median of 4, 3 and 5 per unit");
        assert_eq!(seconds(&same, None), Some(Seconds::Last(9.0)));
        assert_eq!(seconds(&other, None), None);
        assert_eq!(rates.seconds("score.flap", &same, &needs(Some(1.0))), None);
    }
}
