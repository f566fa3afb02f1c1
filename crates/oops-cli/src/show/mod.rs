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
use oops_core::{Digest, Fault, Result};
use oops_engine::Resolved;
use oops_pipeline::Graph;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    recorded::{Entry, Shelf},
    warnings,
};
pub(crate) use plan::blocks as plan_blocks;
use view::View;

/// The artifact of node `i` for people.
pub(crate) fn text(graph: &Graph<'_>, results: &BTreeMap<usize, Resolved>, i: usize) -> Result<String> {
    let shelf = Shelf::of_results(graph, results)?;
    entry_text(&shelf, shelf.get(&graph.nodes[i].name)?)
}

/// A result for people, with the warnings of all that it was made from; models that have some are marked with their
/// numbers.
pub(crate) fn entry_text(shelf: &Shelf, entry: &Entry) -> Result<String> {
    let warned = warnings::of(shelf.ancestry(entry));
    let label = |digest: &Digest| {
        let own = shelf.by_digest(digest).map(|e| warnings::of(shelf.ancestry(e))).unwrap_or_default();
        format!("{}{}", shelf.label(digest), warnings::mark(&warned, &own))
    };
    let text = match entry.artifact.kind {
        Kind::Metrics => metrics::text(shelf, entry, &label)?,
        Kind::Export => card(entry)?,
        Kind::Report => oops_report::render(&entry.artifact, &label, &|texts| shelf.texts.name(texts))?,
        _ => view(shelf, entry)?.text(),
    };
    if warned.is_empty() {
        Ok(text)
    } else {
        Ok(format!("{}\n\n{}", text.trim_end(), warnings::notes(&warned).join("\n")))
    }
}

/// JSON with the warnings of all that a result was made from.
#[derive(Serialize)]
struct Warned<T> {
    #[serde(flatten)]
    what: T,
    warnings: Value,
}

/// A result as JSON.
pub(crate) fn entry_json(shelf: &Shelf, entry: &Entry) -> Result<String> {
    let warnings = warnings::json(&warnings::of(shelf.ancestry(entry)));
    match entry.artifact.kind {
        Kind::Metrics => line(&Warned { what: metrics::json(shelf, entry)?, warnings }),
        Kind::Export => {
            let proof: Map<String, Value> = oops_artifact::json::read(entry.artifact.path("verify.json")?)?;
            line(&Warned { what: proof, warnings })
        }
        Kind::Report => {
            let shown = oops_report::shown(&entry.artifact, &|texts| shelf.texts.name(texts))?;
            line(&Warned { what: shown, warnings })
        }
        kind => {
            let mut object = if kind == Kind::Plan { plan::files(&entry.artifact)? } else { summary(entry)? };
            object.insert("tables".to_owned(), view(shelf, entry)?.json());
            if !entry.record.measured.is_empty() {
                let measured = entry.record.measured.clone().into_iter().collect();
                object.insert("measured".to_owned(), Value::Object(measured));
            }
            object.insert("warnings".to_owned(), warnings);
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
