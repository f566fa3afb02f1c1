//! `oops status`: what a run would do.

use std::path::Path;

use oops_engine::{Planned, Session, Silent, State};
use oops_pipeline::Graph;
use oops_stage::Registry;

use crate::{
    args::Pipeline,
    open::{self, Answer},
    platform::CANCEL,
    terminal::{err, out},
};

/// Runs the command.
pub(crate) fn status(args: &Pipeline, cache: Option<&Path>, registry: &Registry) -> Answer {
    let mut graph = open::graph(args, registry)?;
    let all = (0..graph.nodes.len()).collect();
    graph.check(&all)?;
    let store = open::store(cache)?;
    let session = Session { graph: &graph, store: &store, observer: &Silent, cancel: &CANCEL };
    print(&graph, &oops_engine::plan(session, all)?, false);
    Ok(0)
}

/// One line per stage.
pub(crate) fn print(graph: &Graph<'_>, plan: &[Planned], to_stderr: bool) {
    let width = |f: &dyn Fn(usize) -> usize| plan.iter().map(|p| f(p.node)).max().unwrap_or(0);
    let (name_width, stage_width) =
        (width(&|i| graph.nodes[i].name.len()), width(&|i| graph.nodes[i].stage.name().len()));
    for Planned { node, state, .. } in plan {
        let node = &graph.nodes[*node];
        let line = format!("{:name_width$}  {:stage_width$}  {}", node.name, node.stage.name(), describe(state));
        if to_stderr { err(&line) } else { out(&line) }
    }
}

fn describe(state: &State) -> String {
    match state {
        State::Cached(found) => {
            let bytes: u64 = found.record.files.values().map(|f| f.bytes).sum();
            format!("cached    {} files, {}", found.record.files.len(), size(bytes))
        }
        State::Stale(reason) => format!("would run {reason}"),
        State::Waits(input) => format!("would run unless {input} comes out as before"),
    }
}

/// Bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    match bytes as f64 {
        b if b < 1e3 => format!("{bytes} B"),
        b if b < 1e6 => format!("{:.1} kB", b / 1e3),
        b if b < 1e9 => format!("{:.1} MB", b / 1e6),
        b => format!("{:.2} GB", b / 1e9),
    }
}
