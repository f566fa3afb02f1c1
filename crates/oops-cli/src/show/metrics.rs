//! Metrics: rows are joined with the names of the instances that they measure.

use std::collections::BTreeMap;

use oops_artifact::Metrics;
use oops_core::Result;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::recorded::{Entry, Shelf};

#[derive(Serialize)]
struct Shown<'a> {
    protocol: &'a Map<String, Value>,
    models: Vec<Row<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    measured: &'a BTreeMap<String, Value>,
}

#[derive(Serialize)]
struct Row<'a> {
    model: &'a str,
    #[serde(flatten)]
    figures: &'a Map<String, Value>,
}

/// Names of the measured instances, row by row.
fn names(shelf: &Shelf, metrics: &Metrics) -> Result<Vec<String>> {
    (0..metrics.models.len()).map(|i| Ok(shelf.label(&metrics.model(i)?))).collect()
}

/// As JSON.
pub(super) fn json(shelf: &Shelf, entry: &Entry) -> Result<String> {
    let metrics = Metrics::read(&entry.artifact)?;
    let names = names(shelf, &metrics)?;
    let models = names.iter().zip(&metrics.models).map(|(model, figures)| Row { model, figures }).collect();
    super::line(&Shown { protocol: &metrics.protocol, models, measured: &entry.record.measured })
}

/// As a table, with the protocol below.
pub(super) fn text(shelf: &Shelf, entry: &Entry) -> Result<String> {
    let metrics = Metrics::read(&entry.artifact)?;
    let shown = |v: &Value| !(v.is_object() || v.is_array());
    let mut columns: Vec<&str> = Vec::new();
    for (key, _) in metrics.models.iter().flatten().filter(|(k, v)| *k != "model_digest" && shown(v)) {
        if !columns.contains(&key.as_str()) {
            columns.push(key);
        }
    }
    let cell = |row: &Map<String, Value>, key: &str| row.get(key).map(cell).unwrap_or_default();
    let row = |(name, row): (String, &Map<String, Value>)| {
        std::iter::once(name).chain(columns.iter().map(|key| cell(row, key))).collect()
    };
    let header = std::iter::once("model").chain(columns.iter().copied()).map(str::to_owned).collect();
    let rows = names(shelf, &metrics)?.into_iter().zip(&metrics.models).map(row);
    let lines: Vec<Vec<String>> = std::iter::once(header).chain(rows).collect();
    let protocol = metrics.protocol.iter().map(|(k, v)| format!("{k}: {}", self::cell(v)));
    Ok(format!("{}\n\n{}", oops_report::plain(&lines, &|c| c == 0), protocol.collect::<Vec<_>>().join("\n")))
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(n) if n.is_f64() => n.as_f64().map(|x| format!("{x:.4}")).unwrap_or_default(),
        other => other.to_string(),
    }
}
