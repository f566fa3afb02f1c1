//! The sweep file as it is typed.

use serde::Deserialize;
use serde_yaml::{Mapping, Value};

/// Keys of the file.
pub(super) const SWEEP_KEYS: &[&str] =
    &["version", "about", "pipeline", "set", "columns", "rows", "seeds", "judge", "figures"];

/// The file.
#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a mapping with the keys version, about, pipeline, set, columns, rows, seeds, judge, figures"
)]
pub(super) struct RawSweep {
    pub(super) version: u64,
    pub(super) about: Option<String>,
    pub(super) pipeline: String,
    pub(super) set: Option<Value>,
    pub(super) columns: Option<Mapping>,
    pub(super) rows: Option<Mapping>,
    pub(super) seeds: Option<Vec<u64>>,
    pub(super) judge: Option<String>,
    pub(super) figures: Option<Vec<String>>,
}

/// Keys of a row.
pub(super) const ROW_KEYS: &[&str] = &["pipeline", "set", "judge"];

/// One row.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a mapping with the keys pipeline, set, judge")]
pub(super) struct RawRow {
    pub(super) pipeline: Option<String>,
    pub(super) set: Option<Value>,
    pub(super) judge: Option<String>,
}
