//! Sweeps as JSON: every cell with the names of its row and column, all digits.

use serde_json::{Map, Value, json};

use super::{Cell, SweepTable};

impl SweepTable {
    /// The whole sweep.
    pub fn json(&self) -> Value {
        let circumstances: Map<String, Value> =
            self.circumstances.iter().map(|(what, value)| (what.clone(), Value::from(value.as_str()))).collect();
        json!({
            "title": self.title,
            "about": self.about,
            "circumstances": circumstances,
            "columns": self.columns,
            "rows": self.rows().map(|(_, name)| name).collect::<Vec<_>>(),
            "cells": self.cells.iter().map(|c| self.cell(c)).collect::<Vec<_>>(),
        })
    }

    fn cell(&self, cell: &Cell) -> Value {
        let seconds: Map<String, Value> = cell.seconds.iter().map(|(f, s)| (f.clone(), Value::from(*s))).collect();
        json!({
            "row": self.rows[cell.row],
            "column": self.columns[cell.column],
            "seed": cell.seed,
            "perplexities": cell.perplexities,
            "sizes": cell.sizes,
            "seconds": seconds,
            "removed_fraction": cell.removed_fraction,
            "warnings": cell.warnings.iter().map(|(s, m)| json!({ "stage": s, "message": m })).collect::<Vec<_>>(),
            "error": cell.error,
        })
    }
}
