//! What heavy stages are expected to take: memory and disk by what they say of themselves, seconds by earlier runs.

use oops_core::Digest;
use oops_engine::{Limits, Rates, Seconds, needs};
use oops_pipeline::Graph;
use oops_stage::Needs;
use oops_store::Store;
use serde_json::{Value, json};

use crate::units::{seconds, size};

/// The forecast of one heavy stage.
pub(crate) struct Forecast {
    needs: Needs,
    seconds: Option<Seconds>,
}

impl Forecast {
    /// Of a stage that would run; none if it is light.
    pub(crate) fn of(graph: &Graph<'_>, planned: (usize, &Digest), rates: &Rates) -> Option<Self> {
        let (i, identity) = planned;
        let needs = needs(graph, i);
        needs.heavy.then(|| Self { needs, seconds: rates.seconds(graph.nodes[i].stage.name(), identity, &needs) })
    }

    /// What it will not find on this machine.
    pub(crate) fn shortages(&self, limits: Limits, store: &Store) -> Vec<String> {
        limits.shortages(&self.needs, store.free_bytes())
    }

    /// For the end of a line.
    pub(crate) fn text(&self) -> String {
        let Needs { memory_bytes, disk_bytes, .. } = self.needs;
        let known = |bytes: Option<u64>, what: &str| bytes.filter(|b| *b > 0).map(|b| format!("{} {what}", size(b)));
        let time = match self.seconds {
            None => "time unknown".to_owned(),
            Some(Seconds::Scaled(s)) => seconds(s),
            Some(Seconds::Last(s)) => format!("{} as last time", seconds(s)),
        };
        let memory = known(memory_bytes, "memory").or_else(|| Some("memory unknown".to_owned()));
        let parts: Vec<String> = memory.into_iter().chain(known(disk_bytes, "disk")).chain([time]).collect();
        format!("about {}", parts.join(", "))
    }

    /// All digits.
    pub(crate) fn json(&self, instance: &str) -> Value {
        let Needs { memory_bytes, disk_bytes, .. } = self.needs;
        let seconds = self.seconds.map(Seconds::value);
        json!({ "instance": instance, "memory_bytes": memory_bytes, "disk_bytes": disk_bytes, "seconds": seconds })
    }
}

/// The forecast of all heavy stages together, one after another; none without any.
pub(crate) fn total<'f>(all: impl IntoIterator<Item = &'f Forecast>) -> Option<String> {
    let (mut count, mut known, mut sum, mut most) = (0, 0, 0.0, 0);
    for forecast in all {
        count += 1;
        known += usize::from(forecast.seconds.is_some());
        sum += forecast.seconds.map_or(0.0, Seconds::value);
        most = most.max(forecast.needs.memory_bytes.unwrap_or(0));
    }
    let time = match (known, count) {
        (_, 0) => return None,
        (0, _) => "time unknown (no earlier run to go by)".to_owned(),
        (n, _) if n == count => format!("about {}", seconds(sum)),
        (n, _) => format!("about {} for {n} of them, the others' time is unknown", seconds(sum)),
    };
    Some(format!("{count} heavy: {time}; at most {} memory for one", size(most)))
}
