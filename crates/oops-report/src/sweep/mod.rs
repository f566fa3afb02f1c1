//! The table of a sweep: rows × columns of the perplexity of one model per cell, on every text, with sizes and seconds.

mod csv;
mod figures;
mod json;
mod markdown;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

pub use csv::csv;

/// Everything that a sweep found.
#[derive(Debug, Default)]
pub struct SweepTable {
    /// Heading.
    pub title: String,
    /// What the table is about.
    pub about: Option<String>,
    /// What a reader needs to make it again: command, seeds, machine, program.
    pub circumstances: Vec<(String, String)>,
    /// Names of the columns; one without a name if there is only one.
    pub columns: Vec<String>,
    /// Names of the rows.
    pub rows: Vec<String>,
    /// The cells, in any number per row and column (one per seed).
    pub cells: Vec<Cell>,
}

/// One judged model.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    /// Index of its row.
    pub row: usize,
    /// Index of its column.
    pub column: usize,
    /// Its seed, if the sweep has seeds.
    pub seed: Option<u64>,
    /// Perplexities, in the order in which columns should stand.
    pub perplexities: Vec<Perplexity>,
    /// Sizes by name (`parameters`, `decoder_parameters`).
    pub sizes: BTreeMap<String, Size>,
    /// Wall seconds of the stages that the model was made by, per family, in order.
    pub seconds: Vec<(String, f64)>,
    /// Fraction of the decoder's linear weights that the plan of the judged model removed, if it was made by one.
    pub removed_fraction: Option<f64>,
    /// Warnings of everything that the figures were made by: stage and message.
    pub warnings: Vec<(String, String)>,
    /// Why there are no figures.
    pub error: Option<String>,
}

/// Perplexities of the judged and the dense model on one text under one protocol.
#[derive(Clone, Debug, Serialize)]
pub struct Perplexity {
    /// Name of the text's column.
    pub domain: String,
    /// Everything that figures must share to compare.
    pub protocol: Map<String, Value>,
    /// Of the judged model, if it was measured here.
    pub model: Option<f64>,
    /// Of the dense model, if it was measured here.
    pub dense: Option<f64>,
}

/// A size of the judged and the dense model, as a number of weights.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Size {
    /// Of the judged model.
    pub model: Option<u64>,
    /// Of the dense model.
    pub dense: Option<u64>,
}

impl SweepTable {
    /// Texts on which judged models were measured, in order.
    fn domains(&self) -> Vec<&str> {
        let all = self.cells.iter().flat_map(|c| &c.perplexities).filter(|p| p.model.is_some());
        figures::distinct(all.map(|p| p.domain.as_str()))
    }

    /// Protocols of a text over all cells, each with the rows that used it; figures compare only if there is one.
    fn protocols(&self, domain: &str) -> Vec<(&Map<String, Value>, Vec<&str>)> {
        let mut out: Vec<(&Map<String, Value>, Vec<&str>)> = Vec::new();
        for cell in &self.cells {
            for p in cell.perplexities.iter().filter(|p| p.domain == domain && p.model.is_some()) {
                let row = self.rows[cell.row].as_str();
                match out.iter_mut().find(|(protocol, _)| **protocol == p.protocol) {
                    Some((_, rows)) if rows.contains(&row) => {}
                    Some((_, rows)) => rows.push(row),
                    None => out.push((&p.protocol, vec![row])),
                }
            }
        }
        out
    }

    /// Rows that have cells, with their names.
    fn rows(&self) -> impl Iterator<Item = (usize, &String)> {
        self.rows.iter().enumerate().filter(|(r, _)| self.cells.iter().any(|c| c.row == *r))
    }

    fn cells_at(&self, row: usize, column: usize) -> impl Iterator<Item = &Cell> {
        self.cells.iter().filter(move |c| c.row == row && c.column == column)
    }

    /// Distinct perplexities of the dense model on a text, under the protocols of that text in a column.
    fn dense(&self, domain: &str, column: usize) -> Vec<f64> {
        let of = |cell: &'_ Cell| -> Vec<f64> {
            let judged = cell.perplexities.iter().filter(|p| p.domain == domain && p.model.is_some());
            let protocols: Vec<_> = judged.map(|p| &p.protocol).collect();
            let same = cell.perplexities.iter().filter(|p| protocols.contains(&&p.protocol));
            same.filter_map(|p| p.dense).collect()
        };
        figures::distinct(self.cells.iter().filter(|c| c.column == column).flat_map(of))
    }

    /// Different warnings over all cells, in order; a cell's mark is their numbers.
    fn warnings(&self) -> Vec<&(String, String)> {
        figures::distinct(self.cells.iter().flat_map(|c| &c.warnings))
    }

    /// Families of stages that took time, in order of the cell that has most.
    fn families(&self) -> Vec<&str> {
        let mut cells: Vec<&Cell> = self.cells.iter().collect();
        cells.sort_by_key(|c| std::cmp::Reverse(c.seconds.len()));
        figures::distinct(cells.iter().flat_map(|c| &c.seconds).map(|(family, _)| family.as_str()))
    }
}

impl Cell {
    /// Perplexity of the judged model on a text.
    fn perplexity(&self, domain: &str) -> Option<f64> {
        self.perplexities.iter().filter(|p| p.domain == domain).find_map(|p| p.model)
    }

    /// Seconds of all families, or of one; none if no stage of it took part.
    fn seconds(&self, family: Option<&str>) -> Option<f64> {
        let parts = self.seconds.iter().filter(|(f, _)| family.is_none_or(|name| f == name));
        parts.map(|(_, s)| *s).reduce(|a, b| a + b)
    }
}
