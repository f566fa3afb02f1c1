//! Repetitions of a benchmark and what they come to.

use std::collections::BTreeMap;

use oops_core::Result;
use oops_linalg::stats::median;
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
            runs: runs.len(),
            medians: columns.iter().map(|(name, values)| (name.clone(), median(values))).collect(),
            spread: columns.iter().map(|(name, values)| (name.clone(), spread(values))).collect(),
        }
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
