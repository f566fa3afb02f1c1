//! Repetitions of a benchmark and what they come to.

use std::collections::BTreeMap;

use oops_core::Result;
use oops_linalg::stats::median;
use oops_stage::vectors;
use serde::Serialize;
use serde_json::Value;

/// The figures of one repetition by name; names end in their unit.
pub type Figures = BTreeMap<String, f64>;

/// Medians over repetitions, with their spread.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Name of the benchmark.
    pub bench: &'static str,
    /// What it ran on.
    pub settings: BTreeMap<&'static str, Value>,
    /// Widest vectors of this machine's CPU: shares of its limits are compared among such CPUs alone.
    pub vectors: &'static str,
    /// Number of repetitions.
    pub runs: usize,
    /// Median of every figure.
    #[serde(flatten)]
    pub medians: Figures,
    /// Smallest and largest value of every figure.
    pub spread: BTreeMap<String, [f64; 2]>,
}

impl Report {
    /// Sums up repetitions; a figure that some of them lack is the median of those that have it.
    pub fn of(bench: &'static str, settings: BTreeMap<&'static str, Value>, runs: &[Figures]) -> Self {
        let mut columns: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for (name, value) in runs.iter().flatten() {
            columns.entry(name.clone()).or_default().push(*value);
        }
        let spread = |values: &Vec<f64>| values.iter().fold([f64::MAX, f64::MIN], |[a, b], v| [a.min(*v), b.max(*v)]);
        Self {
            bench,
            settings,
            vectors: vectors(),
            runs: runs.len(),
            medians: columns.iter().filter_map(|(name, values)| Some((name.clone(), median(values)?))).collect(),
            spread: columns.iter().map(|(name, values)| (name.clone(), spread(values))).collect(),
        }
    }
}

/// A share may fall to this part of a stored one before it counts as a regression.
const TOLERANCE: f64 = 0.9;

impl Report {
    /// Whether `stored` is a report of the same benchmark on the same settings and a CPU with the same vectors.
    pub fn is_like(&self, stored: &Value) -> bool {
        stored["bench"] == self.bench
            && stored["vectors"] == self.vectors
            && serde_json::to_value(&self.settings).is_ok_and(|mine| mine == stored["settings"])
    }

    /// What regressed: shares whose best repetition is more than a tenth below the stored median. Other figures depend on
    /// the machine and are not compared.
    pub fn regressions(&self, stored: &Value) -> Vec<String> {
        let worse = |(name, [_, best]): (&String, &[f64; 2])| {
            let before = stored[name].as_f64().filter(|_| name.contains("share_of"))?;
            let (now, then) = (100.0 * best, 100.0 * before);
            (*best < TOLERANCE * before).then(|| format!("{name}: {now:.1} % at best, {then:.1} % stored"))
        };
        self.spread.iter().filter_map(worse).collect()
    }
}

/// Calls `one` `runs` times; `done` hears of every repetition.
pub fn repeat(
    runs: usize,
    done: &mut dyn FnMut(usize),
    mut one: impl FnMut() -> Result<Figures>,
) -> Result<Vec<Figures>> {
    let each = |i| {
        let figures = one()?;
        done(i + 1);
        Ok(figures)
    };
    (0..runs).map(each).collect()
}

/// Figures from names and values.
pub(crate) fn figures<const N: usize>(list: [(&str, f64); N]) -> Figures {
    list.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Seconds that `f` takes, and what it gives.
pub(crate) fn timed<T>(f: impl FnOnce() -> T) -> (f64, T) {
    let start = std::time::Instant::now();
    let value = f();
    (start.elapsed().as_secs_f64().max(1e-9), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_spreads_are_per_figure() {
        let runs = [1.0, 5.0, 2.0].map(|v| figures([("a_s", v), ("b", 7.0)]));
        let report = Report::of("x", BTreeMap::new(), &runs);
        assert!((report.medians["a_s"] - 2.0).abs() < 1e-12 && (report.medians["b"] - 7.0).abs() < 1e-12);
        assert_eq!(report.spread["a_s"].map(f64::to_bits), [1.0_f64, 5.0].map(f64::to_bits));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["a_s"], 2.0);
        assert_eq!(json["runs"], 3);
    }

    #[test]
    fn a_share_regresses_when_even_the_best_run_is_a_tenth_below() {
        let runs = [0.5, 0.71].map(|v| figures([("share_of_x", v), ("seconds", 9.0)]));
        let report = Report::of("x", BTreeMap::from([("n", 4.into())]), &runs);
        let stored = |share: f64| serde_json::json!({ "bench": "x", "settings": { "n": 4 }, "vectors": vectors(), "share_of_x": share, "seconds": 1.0 });
        let other = serde_json::json!({ "bench": "x", "settings": { "n": 4 }, "vectors": "of another CPU" });
        assert!(!report.is_like(&other));
        assert!(report.is_like(&stored(0.0)) && !report.is_like(&serde_json::json!({ "bench": "x", "settings": {} })));
        assert!(report.regressions(&stored(0.78)).is_empty());
        assert_eq!(report.regressions(&stored(0.8)), ["share_of_x: 71.0 % at best, 80.0 % stored"]);
    }

    #[test]
    fn a_failing_repetition_ends_the_benchmark() {
        let mut heard = 0;
        let fault = || oops_core::Fault::internal("no");
        let mut calls = 0;
        let result = repeat(5, &mut |_| heard += 1, || {
            calls += 1;
            if calls == 3 { Err(fault()) } else { Ok(Figures::new()) }
        });
        assert!(result.is_err());
        assert_eq!((heard, calls), (2, 3));
    }
}
