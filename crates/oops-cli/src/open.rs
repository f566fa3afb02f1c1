//! Opening what a command works on.

use std::path::{Path, PathBuf};

use oops_core::{Fault, Result};
use oops_pipeline::{Graph, Problems};
use oops_stage::Registry;
use oops_store::Store;

use crate::args::Pipeline;

/// Why a command stopped.
pub(crate) enum Stop {
    /// Something failed.
    Fault(Fault),
    /// The pipeline is wrong.
    Problems(Problems),
}

/// Exit code of a command.
pub(crate) type Answer = std::result::Result<u8, Stop>;

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Problems> for Stop {
    fn from(problems: Problems) -> Self {
        Self::Problems(problems)
    }
}

/// Loads a pipeline and says what its overrides dropped.
pub(crate) fn graph<'r>(pipeline: &Pipeline, registry: &'r Registry) -> std::result::Result<Graph<'r>, Stop> {
    let graph = Graph::load(&pipeline.file, &pipeline.overrides, registry)?;
    graph.notes.iter().for_each(|note| crate::terminal::err(&format!("note: {note}")));
    Ok(graph)
}

/// Opens the store: the given folder, or `.oops` in the nearest folder above that has one or is a git checkout, or here.
pub(crate) fn store(cache: Option<&Path>) -> Result<Store> {
    let here = std::env::current_dir().map_err(|e| Fault::store(format!("no current folder: {e}")))?;
    let workspace = || here.ancestors().find(|a| a.join(".oops").is_dir() || a.join(".git").exists());
    let root = cache.map_or_else(|| workspace().unwrap_or(&here).join(".oops"), PathBuf::from);
    Store::open(root)
}
