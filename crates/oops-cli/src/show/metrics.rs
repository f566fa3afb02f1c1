//! Metrics: rows are joined with the names of the instances that they measure, by position.

use std::collections::BTreeMap;

use oops_artifact::Metrics;
use oops_core::Result;
use oops_engine::Resolved;
use oops_pipeline::Graph;
use serde::Serialize;
use serde_json::{Map, Value};

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

/// Names of the instances on the port that takes models, in order; a row beyond them has no name.
fn names<'g>(graph: &'g Graph<'_>, i: usize) -> Vec<&'g str> {
    let port = graph.nodes[i].inputs.iter().find(|(port, _)| *port == "models");
    port.into_iter().flat_map(|(_, list)| list).map(|&j| graph.nodes[j].name.as_str()).collect()
}

/// As JSON.
pub(crate) fn json(graph: &Graph<'_>, found: &Resolved, i: usize) -> Result<String> {
    let metrics = Metrics::read(&found.artifact)?;
    let names = names(graph, i);
    let row = |(k, figures)| Row { model: names.get(k).copied().unwrap_or(""), figures };
    let models = metrics.models.iter().enumerate().map(row).collect();
    super::line(&Shown { protocol: &metrics.protocol, models, measured: &found.record.measured })
}

/// As a table, with the protocol below.
pub(crate) fn text(graph: &Graph<'_>, found: &Resolved, i: usize) -> Result<String> {
    let metrics = Metrics::read(&found.artifact)?;
    let names = names(graph, i);
    let shown = |v: &Value| !(v.is_object() || v.is_array());
    let mut columns: Vec<&str> = Vec::new();
    for (key, _) in metrics.models.iter().flatten().filter(|(k, v)| *k != "model_digest" && shown(v)) {
        if !columns.contains(&key.as_str()) {
            columns.push(key);
        }
    }
    let cell = |row: &Map<String, Value>, key: &str| row.get(key).map(cell).unwrap_or_default();
    let row = |(k, row): (usize, &Map<String, Value>)| {
        let name = names.get(k).copied().unwrap_or("").to_owned();
        std::iter::once(name).chain(columns.iter().map(|key| cell(row, key))).collect()
    };
    let rows: Vec<Vec<String>> = metrics.models.iter().enumerate().map(row).collect();
    let header: Vec<&str> = std::iter::once("model").chain(columns.iter().copied()).collect();
    let protocol = metrics.protocol.iter().map(|(k, v)| format!("{k}: {}", self::cell(v)));
    Ok(format!("{}\n\n{}", super::table(&header, &rows), protocol.collect::<Vec<_>>().join("\n")))
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(n) if n.is_f64() => n.as_f64().map(|x| format!("{x:.4}")).unwrap_or_default(),
        other => other.to_string(),
    }
}
