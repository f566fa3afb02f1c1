//! Metrics: one row of figures per model, with the protocol that they were measured under.

use oops_core::{Digest, Fault, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Artifact, Sink, json};

const METRICS_FILE: &str = "metrics.json";

/// Figures of models under one protocol. Rows carry the model's digest, never an instance name, so that renaming a
/// stage changes nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Everything that another measurement must share to be comparable.
    pub protocol: Map<String, Value>,
    /// One row per input model, in order; each has a `model_digest`.
    pub models: Vec<Map<String, Value>>,
}

impl Metrics {
    /// Starts a row of figures of a model.
    pub fn row(model: &Artifact, figures: Value) -> Map<String, Value> {
        let mut row = Map::from_iter([("model_digest".to_owned(), Value::from(model.digest().to_string()))]);
        if let Value::Object(figures) = figures {
            row.extend(figures);
        }
        row
    }

    /// Writes the file.
    pub fn write(&self, work: &dyn Sink) -> Result<()> {
        work.file(METRICS_FILE, &mut |path| json::write(path, self))
    }

    /// Reads the file.
    pub fn read(artifact: &Artifact) -> Result<Self> {
        json::read(artifact.path(METRICS_FILE)?)
    }

    /// The digest of the model in row `i`.
    pub fn model(&self, i: usize) -> Result<Digest> {
        let digest = self.models.get(i).and_then(|r| r.get("model_digest")).and_then(Value::as_str);
        digest.ok_or_else(|| Fault::data(format!("metrics row {i} has no model_digest")))?.parse()
    }
}
