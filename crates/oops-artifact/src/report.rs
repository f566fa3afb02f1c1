//! Report tables: what `report.*` stages write and `oops run` prints.

use oops_core::{Digest, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Artifact, Sink, json};

const TABLE_FILE: &str = "table.json";

/// A column of figures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// What the figures are.
    pub title: String,
    /// Index of the protocol that they were measured under.
    pub protocol: usize,
}

/// A table with one row per model. Rows are named by digest, texts by the digests in protocols; whoever prints the table
/// knows the names of instances and files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportTable {
    /// Columns, without the first (the model).
    pub columns: Vec<Column>,
    /// Model and one cell per column.
    pub rows: Vec<(Digest, Vec<String>)>,
    /// Protocols of the columns.
    pub protocols: Vec<Map<String, Value>>,
}

impl ReportTable {
    /// Writes the file.
    pub fn write(&self, work: &dyn Sink) -> Result<()> {
        work.file(TABLE_FILE, &mut |path| json::write(path, self))
    }

    /// Reads the file.
    pub fn read(artifact: &Artifact) -> Result<Self> {
        json::read(artifact.path(TABLE_FILE)?)
    }
}
