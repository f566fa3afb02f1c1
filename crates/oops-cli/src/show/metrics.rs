//! Metrics: rows are joined with the names of the instances that they measure.

use std::collections::BTreeMap;

use oops_artifact::Metrics;
use oops_core::{Digest, Result};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::recorded::{Entry, Shelf};

/// Metrics with the names of the instances that they measure.
#[derive(Serialize)]
pub(super) struct Shown {
    protocol: Map<String, Value>,
    models: Vec<Row>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    measured: BTreeMap<String, Value>,
}

#[derive(Serialize)]
struct Row {
    model: String,
    #[serde(flatten)]
    figures: Map<String, Value>,
}

/// Names of the measured instances, row by row.
fn names(metrics: &Metrics, label: &dyn Fn(&Digest) -> String) -> Result<Vec<String>> {
    (0..metrics.models.len()).map(|i| Ok(label(&metrics.model(i)?))).collect()
}

/// As JSON.
pub(super) fn json(shelf: &Shelf, entry: &Entry) -> Result<Shown> {
    let metrics = Metrics::read(&entry.artifact)?;
    let names = names(&metrics, &|digest| shelf.label(digest))?;
    let protocol = shelf.texts.named(&metrics.protocol);
    let models = names.into_iter().zip(metrics.models).map(|(model, figures)| Row { model, figures }).collect();
    Ok(Shown { protocol, models, measured: entry.record.measured.clone() })
}

/// As a table, with what was measured beside it and the protocol below; `label` names a model by its digest.
pub(super) fn text(shelf: &Shelf, entry: &Entry, label: &dyn Fn(&Digest) -> String) -> Result<String> {
    let metrics = Metrics::read(&entry.artifact)?;
    let names = names(&metrics, label)?;
    let protocol = shelf.texts.named(&metrics.protocol);
    let protocol = protocol.iter().map(|(k, v)| format!("{k}: {}", cell(v))).collect::<Vec<_>>().join("\n");
    let figures = rows(&names, &metrics.models);
    Ok([Some(figures), measured(entry, &names), Some(protocol)].into_iter().flatten().collect::<Vec<_>>().join("\n\n"))
}

/// The table of what a stage measured per model and did not keep in its artifact, and where that was.
fn measured(entry: &Entry, names: &[String]) -> Option<String> {
    let measured = &entry.record.measured;
    let models: Vec<Map<String, Value>> = serde_json::from_value(measured.get("models")?.clone()).ok()?;
    let threads = measured.get("threads").map(|n| format!(", {n} threads")).unwrap_or_default();
    let host = &entry.record.provenance.host;
    Some(format!("{}\n\nmeasured on {host}{threads}; times are of that run, not reproducible", rows(names, &models)))
}

/// One line per model, one column per figure that is not a list or object of its own.
fn rows(names: &[String], models: &[Map<String, Value>]) -> String {
    let shown = |v: &Value| spread(v).is_some() || !(v.is_object() || v.is_array());
    let mut columns: Vec<&str> = Vec::new();
    for (key, _) in models.iter().flatten().filter(|(k, v)| *k != "model_digest" && shown(v)) {
        if !columns.contains(&key.as_str()) {
            columns.push(key);
        }
    }
    let cell = |row: &Map<String, Value>, key: &str| row.get(key).map(cell).unwrap_or_default();
    let row = |(name, row): (String, &Map<String, Value>)| {
        std::iter::once(name).chain(columns.iter().map(|key| cell(row, key))).collect()
    };
    let header = std::iter::once("model").chain(columns.iter().copied()).map(str::to_owned).collect();
    let lines: Vec<Vec<String>> = std::iter::once(header).chain(names.iter().cloned().zip(models).map(row)).collect();
    oops_report::plain(&lines, &|c| c == 0)
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(n) if n.is_f64() => n.as_f64().map(|x| format!("{x:.4}")).unwrap_or_default(),
        other => spread(other).unwrap_or_else(|| other.to_string()),
    }
}

/// Median and quartiles of repeated measurements.
fn spread(value: &Value) -> Option<String> {
    let quartiles = value.get("quartiles")?.as_array()?.iter().map(Value::as_f64).collect::<Option<Vec<_>>>()?;
    let [low, high] = quartiles[..] else { return None };
    let median = value.get("median")?.as_f64()?;
    Some(format!("{} ({}–{})", digits(median), digits(low), digits(high)))
}

/// About three digits: measured times have no more.
fn digits(v: f64) -> String {
    match v {
        v if v < 10.0 => format!("{v:.2}"),
        v if v < 100.0 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn repeated_measurements_are_shown_with_their_spread() {
        let row = json!({ "rate": { "median": 12.345, "quartiles": [9.876, 123.4] }, "widths": [1, 2], "n": 3 });
        let table = rows(&["dense".to_owned()], &[row.as_object().cloned().unwrap()]);
        assert_eq!(table, "model  n             rate\ndense  3  12.3 (9.88–123)");
    }
}
