//! Sweeps: one graph per cell of a table with rows, columns and seeds, all over the same pipeline files.

mod clash;
mod file;
mod judge;
mod product;
mod raw;

use std::path::{Path, PathBuf};

use oops_core::Fault;
use oops_stage::Registry;

pub use judge::Judged;

use crate::{Graph, Place, Problem, Problems, Setting, document::Document};

/// A table of pipelines.
#[derive(Debug)]
pub struct Sweep {
    /// The file, as it was given.
    pub file: PathBuf,
    /// What the file says about itself.
    pub about: Option<String>,
    /// Names of the columns; one without a name if the file has none.
    pub columns: Vec<String>,
    /// Names of the rows.
    pub rows: Vec<String>,
    /// Seeds of every cell; empty if each pipeline keeps its own.
    pub seeds: Vec<u64>,
    /// The cells, row by row, in a row column by column, in a column seed by seed.
    pub cells: Vec<Cell>,
    /// What is said for all rows: by the file (first of each cell's settings) and by flags (last of them).
    common: [Vec<Setting>; 2],
}

/// One pipeline of a sweep.
#[derive(Debug)]
pub struct Cell {
    /// Index of its row.
    pub row: usize,
    /// Index of its column.
    pub column: usize,
    /// Its seed, if the sweep has seeds.
    pub seed: Option<u64>,
    /// For people: row, column and seed.
    pub name: String,
    /// Its overrides, later ones over earlier ones.
    pub settings: Vec<Setting>,
    pipeline: PathBuf,
    judge: Option<judge::Named>,
    figures: Option<Vec<judge::Named>>,
}

impl Sweep {
    /// Reads a sweep file, or a pipeline file whose flags vary (`a=x,y`). `flags` hold for all rows of a sweep file.
    pub fn open(path: &Path, flags: &[String], judge: Option<&str>) -> Result<Self, Problems> {
        let document = Document::open(path, &[])?;
        let is_pipeline = document.value.get("stages").is_some() && document.value.get("rows").is_none();
        let judge = judge.map(judge::Named::flag);
        if is_pipeline {
            Ok(product::read(path, &document, flags, judge))
        } else {
            file::read(path, &document, flags, judge)
        }
    }

    /// Whether a file is a sweep file; one that cannot be read or parsed is not.
    pub fn is_sweep(path: &Path) -> bool {
        Document::open(path, &[]).is_ok_and(|d| d.value.get("rows").is_some())
    }

    /// The graph of every cell with the model that it judges, and which flags changed a cell (a flag for all rows may
    /// mean another sweep file of the same command). Nothing looks at inputs yet.
    pub fn graphs<'r>(&self, registry: &'r Registry) -> Result<(Vec<Judged<'r>>, Vec<bool>), Problems> {
        let [first, last] = &self.common;
        let mut used = vec![false; first.len() + last.len()];
        let mut all = Vec::new();
        for cell in &self.cells {
            let judged = cell.graph(registry).map_err(|p| p.at(&cell.place()))?;
            let applied = judged.graph.document.applied();
            let ends = applied.iter().take(first.len()).chain(&applied[applied.len() - last.len()..]);
            used.iter_mut().zip(ends).for_each(|(used, applied)| *used |= applied);
            all.push(judged);
        }
        let flags = used.split_off(first.len());
        match used.iter().position(|u| !u) {
            Some(i) => Err(self.useless(i)),
            None => Ok((all, flags)),
        }
    }

    /// Flag `i` changes no row of any sweep.
    pub fn useless_flag(&self, i: usize) -> Problems {
        self.useless(self.common[0].len() + i)
    }

    /// Common setting `i` changes no row.
    fn useless(&self, i: usize) -> Problems {
        let fault = Fault::config("this changes no row of the sweep")
            .help("no row's pipeline has a stage of this name that knows the parameter");
        Problems {
            file: self.file.display().to_string(),
            text: String::new(),
            settings: self.common.concat(),
            list: vec![Problem::new(fault, Place::Override(i))],
        }
    }
}

impl Cell {
    /// For messages.
    pub fn place(&self) -> String {
        format!("cell `{}`", self.name)
    }

    fn graph<'r>(&self, registry: &'r Registry) -> Result<Judged<'r>, Problems> {
        Judged::new(
            Graph::with_settings(&self.pipeline, &self.settings, registry)?,
            self.judge.as_ref(),
            self.figures.as_deref(),
        )
    }
}
