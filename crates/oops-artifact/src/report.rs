//! Report tables: what `report.*` stages write and `oops run` prints.

use oops_core::{Digest, Result};
use serde::{Deserialize, Serialize};

use crate::{Artifact, Sink, json};

const TABLE_FILE: &str = "table.json";

/// A table with one row per model. Rows are named by digest; whoever prints the table knows the instance names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportTable {
    /// Column titles, without the first (the model).
    pub columns: Vec<String>,
    /// Model and one cell per column.
    pub rows: Vec<(Digest, Vec<String>)>,
    /// Lines below the table: protocols, units.
    pub notes: Vec<String>,
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
