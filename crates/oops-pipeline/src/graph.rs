//! A checked pipeline: stage instances in an order in which inputs come first.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use oops_core::{Device, Fault, Result, nearest};
use oops_stage::{AnyStage, Facts, Registry, Source};
use petgraph::{
    graph::NodeIndex,
    visit::{Dfs, Reversed},
};
use serde_json::Value;

use crate::{Problems, Setting, build::build, document::Document, order::Dag};

/// One stage instance.
pub struct Node<'r> {
    /// Name of the instance; only people see it.
    pub name: String,
    /// What runs.
    pub stage: &'r dyn AnyStage,
    /// Parameters with defaults filled in.
    pub params: Value,
    /// Connected ports in the stage's order, with indices into [`Graph::nodes`].
    pub inputs: Vec<(&'static str, Vec<usize>)>,
    /// What the file says about it.
    pub about: Option<String>,
    /// Files outside the store that it reads; known after [`Graph::check`].
    pub sources: Vec<Source>,
    /// What is known of its output; known after [`Graph::check`].
    pub facts: Facts,
}

impl Node<'_> {
    /// Indices of all inputs, port by port.
    pub fn uses(&self) -> impl Iterator<Item = usize> + '_ {
        self.inputs.iter().flat_map(|(_, nodes)| nodes.iter().copied())
    }
}

/// A pipeline.
pub struct Graph<'r> {
    /// Absolute path of the file.
    pub file: PathBuf,
    /// What the file says about itself.
    pub about: Option<String>,
    /// The pipeline's seed.
    pub seed: u64,
    /// Where forward passes compute.
    pub device: Device,
    /// Stage instances, inputs first.
    pub nodes: Vec<Node<'r>>,
    /// Things that the user should know, for example parameters that a swap dropped.
    pub notes: Vec<String>,
    pub(crate) dag: Dag,
    pub(crate) document: Document,
}

impl<'r> Graph<'r> {
    /// Reads a pipeline file, applies overrides and checks everything that can be checked without looking at inputs.
    pub fn load(path: &Path, overrides: &[String], registry: &'r Registry) -> std::result::Result<Self, Problems> {
        let settings: Vec<Setting> = overrides.iter().map(Setting::flag).collect();
        Self::with_settings(path, &settings, registry)
    }

    /// The same with overrides from anywhere, later ones over earlier ones.
    pub fn with_settings(
        path: &Path,
        settings: &[Setting],
        registry: &'r Registry,
    ) -> std::result::Result<Self, Problems> {
        let absolute = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        build(absolute, Document::open(path, settings)?, registry)
    }

    /// Folder that relative paths in the file start from.
    pub fn base(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new("."))
    }

    /// The instance with this name.
    pub fn find(&self, name: &str) -> Result<usize> {
        self.nodes.iter().position(|n| n.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.nodes.iter().map(|n| n.name.as_str()).collect();
            let near = nearest(name, names.iter().copied()).map(|n| format!("did you mean `{n}`? "));
            Fault::config(format!("no stage of the pipeline is called `{name}`")).help(format!(
                "{}stages: {}",
                near.unwrap_or_default(),
                names.join(", ")
            ))
        })
    }

    /// These nodes and everything that they are made from.
    pub fn with_ancestors(&self, from: impl IntoIterator<Item = usize>) -> BTreeSet<usize> {
        let reversed = Reversed(&self.dag);
        let mut search = Dfs::empty(reversed);
        search.stack = from.into_iter().map(NodeIndex::new).collect();
        std::iter::from_fn(|| search.next(reversed)).map(NodeIndex::index).collect()
    }

    /// These nodes and everything that is made from them.
    pub fn with_descendants(&self, from: impl IntoIterator<Item = usize>) -> BTreeSet<usize> {
        let mut search = Dfs::empty(&self.dag);
        search.stack = from.into_iter().map(NodeIndex::new).collect();
        std::iter::from_fn(|| search.next(&self.dag)).map(NodeIndex::index).collect()
    }
}
