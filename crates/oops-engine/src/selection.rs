//! Which stages of a pipeline a walk may run.

use std::collections::BTreeSet;

use oops_core::Result;
use oops_pipeline::Graph;

/// What the user asked for, by instance name.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Make these (with everything that they are made from); all if empty.
    pub targets: Vec<String>,
    /// Only this and what is made from it.
    pub from: Option<String>,
    /// Only this and what it is made from.
    pub to: Option<String>,
    /// Only this.
    pub only: Option<String>,
    /// Run these even if they are in the store.
    pub force: Vec<String>,
}

/// A [`Selection`] in a graph, as node indices.
pub(crate) struct Selected {
    /// Nodes that may run.
    pub(crate) may_run: BTreeSet<usize>,
    /// Those and everything that they are made from; what is not in `may_run` must be in the store.
    pub(crate) needed: BTreeSet<usize>,
    /// Nodes that run even if they are in the store.
    pub(crate) forced: BTreeSet<usize>,
}

impl Selection {
    /// Nodes that may run and all that they are made from: what has to pass its check.
    pub fn needed(&self, graph: &Graph<'_>) -> Result<BTreeSet<usize>> {
        Ok(self.select(graph)?.needed)
    }

    /// Nodes that run even if they are in the store.
    pub fn forced(&self, graph: &Graph<'_>) -> Result<BTreeSet<usize>> {
        Ok(self.select(graph)?.forced)
    }

    pub(crate) fn select(&self, graph: &Graph<'_>) -> Result<Selected> {
        let find = |name: &String| graph.find(name);
        let mut may_run: BTreeSet<usize> = (0..graph.nodes.len()).collect();
        if !self.targets.is_empty() {
            let targets: Vec<usize> = self.targets.iter().map(find).collect::<Result<_>>()?;
            may_run = graph.with_ancestors(targets);
        }
        if let Some(to) = &self.to {
            may_run = &may_run & &graph.with_ancestors([find(to)?]);
        }
        if let Some(from) = &self.from {
            may_run = &may_run & &graph.with_descendants([find(from)?]);
        }
        if let Some(only) = &self.only {
            may_run = BTreeSet::from([find(only)?]);
        }
        let forced: BTreeSet<usize> = self.force.iter().map(find).collect::<Result<_>>()?;
        may_run.extend(&forced);
        let needed = graph.with_ancestors(may_run.iter().copied());
        Ok(Selected { may_run, needed, forced })
    }
}
