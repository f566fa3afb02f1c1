//! Artifacts for people and as JSON, by kind. Every kind but metrics and reports is a [`View`]: what it says of itself, and
//! tables computed from its files.

mod compact;
mod gradients;
mod metrics;
mod model;
mod numbers;
mod plan;
mod scores;
mod stats;
mod tokens;
mod view;

use std::collections::BTreeMap;

use oops_artifact::{Kind, SUMMARY};
use oops_core::{Fault, Result};
use oops_engine::Resolved;
use oops_pipeline::Graph;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::recorded::{Entry, Shelf};
pub(crate) use plan::blocks as plan_blocks;
use view::View;

/// The artifact of node `i` for people.
pub(crate) fn text(graph: &Graph<'_>, results: &BTreeMap<usize, Resolved>, i: usize) -> Result<String> {
    let shelf = Shelf::of_results(graph, results)?;
    entry_text(&shelf, shelf.get(&graph.nodes[i].name)?)
}

/// A result for people.
pub(crate) fn entry_text(shelf: &Shelf, entry: &Entry) -> Result<String> {
    match entry.artifact.kind {
        Kind::Metrics => metrics::text(shelf, entry),
        Kind::Export => card(entry),
        Kind::Report => {
            oops_report::render(&entry.artifact, &|digest| shelf.label(digest), &|texts| shelf.texts.name(texts))
        }
        _ => Ok(view(shelf, entry)?.text()),
    }
}

/// A result as JSON.
pub(crate) fn entry_json(shelf: &Shelf, entry: &Entry) -> Result<String> {
    match entry.artifact.kind {
        Kind::Metrics => metrics::json(shelf, entry),
        Kind::Export => line(&oops_artifact::json::read::<Value>(entry.artifact.path("verify.json")?)?),
        Kind::Report => line(&oops_report::shown(&entry.artifact, &|texts| shelf.texts.name(texts))?),
        kind => {
            let mut object = if kind == Kind::Plan { plan::files(&entry.artifact)? } else { summary(entry)? };
            object.insert("tables".to_owned(), view(shelf, entry)?.json());
            if !entry.record.measured.is_empty() {
                let measured = entry.record.measured.clone().into_iter().collect();
                object.insert("measured".to_owned(), Value::Object(measured));
            }
            Ok(compact::compact(&Value::Object(object)))
        }
    }
}

fn view(shelf: &Shelf, entry: &Entry) -> Result<View> {
    match entry.artifact.kind {
        Kind::Tokens => tokens::view(shelf, entry),
        Kind::Stats => stats::view(entry),
        Kind::Gradients => gradients::view(entry),
        Kind::Scores => scores::view(entry),
        Kind::Plan => plan::view(&entry.artifact),
        Kind::Model => model::view(entry),
        Kind::Metrics | Kind::Report | Kind::Export => Err(Fault::internal("this kind has a form of its own")),
    }
}

/// The card of an export.
fn card(entry: &Entry) -> Result<String> {
    let path = entry.artifact.path("README.md")?;
    std::fs::read_to_string(path).map_err(|e| Fault::reading(path, &e))
}

/// What an artifact says of itself.
fn summary(entry: &Entry) -> Result<Map<String, Value>> {
    oops_artifact::json::read(entry.artifact.path(SUMMARY)?)
}

/// A value as one line of JSON.
pub(crate) fn line(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Fault::internal(format!("JSON: {e}")))
}
