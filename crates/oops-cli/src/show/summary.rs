//! Artifacts that describe themselves in `summary.json`.

use oops_artifact::SUMMARY;
use oops_core::Result;
use oops_engine::Resolved;
use serde_json::{Map, Value};

/// The summary, with the figures measured when it was made.
pub(crate) fn json(found: &Resolved) -> Result<String> {
    let artifact = &found.artifact;
    let mut summary: Map<String, Value> = match artifact.paths.get(SUMMARY) {
        Some(path) => oops_artifact::json::read(path)?,
        None => artifact.tree.0.iter().map(|(name, e)| (name.clone(), Value::from(e.bytes))).collect(),
    };
    if !found.record.measured.is_empty() {
        let measured = found.record.measured.clone().into_iter().collect();
        summary.insert("measured".to_owned(), Value::Object(measured));
    }
    Ok(super::compact::compact(&Value::Object(summary)))
}
