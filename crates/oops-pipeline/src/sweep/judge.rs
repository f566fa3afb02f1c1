//! Which model a cell judges, and which stages judge it.

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use oops_artifact::Kind;
use oops_core::Fault;

use crate::{Graph, Place, Problem, Problems, setting::SweepText};

/// The name of a judged model, and where it was written; nowhere for a flag.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) written: Option<(Arc<SweepText>, Range<usize>)>,
}

impl Named {
    pub(super) fn flag(name: &str) -> Self {
        Self { name: name.to_owned(), written: None }
    }

    /// A problem with this name.
    fn problem(&self, fault: Fault) -> Problems {
        let (file, text, place) = match &self.written {
            Some((text, span)) => (text.name.clone(), text.text.clone(), Place::File(span.clone())),
            None => (String::new(), String::new(), Place::Nowhere),
        };
        let fault = if place == Place::Nowhere { fault.at("--judge") } else { fault };
        Problems { file, text, settings: Vec::new(), list: vec![Problem::new(fault, place)] }
    }
}

/// A graph with the model whose figures fill its cell.
pub struct Judged<'r> {
    /// The graph.
    pub graph: Graph<'r>,
    /// Index of the judged model.
    pub model: usize,
    /// Index of the model that came from outside and that it was made from.
    pub dense: Option<usize>,
    /// Indices of the stages that measure one of the two, and no third.
    pub metrics: Vec<usize>,
}

impl<'r> Judged<'r> {
    pub(super) fn new(graph: Graph<'r>, named: Option<&Named>, figures: Option<&[Named]>) -> Result<Self, Problems> {
        let model = match named {
            Some(named) => named_model(&graph, named)?,
            None => only_model(&graph)?,
        };
        let above = graph.with_ancestors([model]);
        let dense = above.iter().copied().find(|&i| is_model(&graph, i) && graph.nodes[i].inputs.is_empty());
        let of_both = |i: &usize| {
            let measured = models(&graph, *i);
            measured.contains(&model) || (!measured.is_empty() && measured.iter().all(|m| Some(*m) == dense))
        };
        let mut metrics: Vec<usize> =
            (0..graph.nodes.len()).filter(|&i| makes(&graph, i, Kind::Metrics)).filter(of_both).collect();
        if let Some(figures) = figures {
            let wanted = figures.iter().map(|f| figure(&graph, f, &metrics)).collect::<Result<BTreeSet<_>, _>>()?;
            metrics.retain(|i| wanted.contains(i));
        }
        Ok(Self { graph, model, dense, metrics })
    }

    /// Everything that has to be made to fill the cell.
    pub fn needed(&self) -> BTreeSet<usize> {
        self.graph.with_ancestors(self.metrics.iter().copied())
    }

    /// Position of node `i` among the models that a stage measures, which is its row in the stage's metrics.
    pub fn row_in(&self, metrics: usize, i: usize) -> Option<usize> {
        models(&self.graph, metrics).iter().position(|&m| m == i)
    }
}

fn makes(graph: &Graph<'_>, i: usize, kind: Kind) -> bool {
    graph.nodes[i].stage.output() == kind
}

fn is_model(graph: &Graph<'_>, i: usize) -> bool {
    makes(graph, i, Kind::Model)
}

/// Models that a stage takes, in order.
fn models(graph: &Graph<'_>, i: usize) -> Vec<usize> {
    graph.nodes[i].uses().filter(|&j| is_model(graph, j)).collect()
}

/// Models that were made from others and that some stage measures.
fn candidates(graph: &Graph<'_>) -> Vec<usize> {
    let measured =
        |i: usize| (0..graph.nodes.len()).any(|m| makes(graph, m, Kind::Metrics) && models(graph, m).contains(&i));
    let made = |i: &usize| is_model(graph, *i) && !graph.nodes[*i].inputs.is_empty();
    (0..graph.nodes.len()).filter(made).filter(|&i| measured(i)).collect()
}

fn names(graph: &Graph<'_>, nodes: &[usize]) -> String {
    let names: Vec<&str> = nodes.iter().map(|&i| graph.nodes[i].name.as_str()).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn named_model(graph: &Graph<'_>, named: &Named) -> Result<usize, Problems> {
    let i = graph.find(&named.name).map_err(|f| named.problem(f))?;
    let candidates = candidates(graph);
    if candidates.contains(&i) {
        return Ok(i);
    }
    let what = if is_model(graph, i) {
        format!("no stage of the pipeline measures `{}`, or it is no model that was made", named.name)
    } else {
        format!("`{}` makes {}, not a model", named.name, graph.nodes[i].stage.output())
    };
    let fault = Fault::config(what).help(format!("models that are made and measured: {}", names(graph, &candidates)));
    Err(named.problem(fault))
}

/// The stage of this name, which must be one of `metrics`.
fn figure(graph: &Graph<'_>, named: &Named, metrics: &[usize]) -> Result<usize, Problems> {
    let i = graph.find(&named.name).map_err(|f| named.problem(f))?;
    if metrics.contains(&i) {
        return Ok(i);
    }
    let fault =
        Fault::config(format!("`{}` does not measure the judged model or the one it was made from", named.name));
    Err(named.problem(fault.help(format!("stages that do: {}", names(graph, metrics)))))
}

fn only_model(graph: &Graph<'_>) -> Result<usize, Problems> {
    match candidates(graph)[..] {
        [one] => Ok(one),
        ref several => {
            let help = format!("models that are made and measured: {}", names(graph, several));
            let fault = Fault::config("it is not clear which model fills the table").help(match several {
                [] => format!("{help}; an eval stage must take one"),
                _ => format!("{help}; say which: `judge: NAME` in the sweep file, or --judge NAME"),
            });
            Err(graph.document.problems(vec![Problem::new(fault, Place::Nowhere)]))
        }
    }
}
