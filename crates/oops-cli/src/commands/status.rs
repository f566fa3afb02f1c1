//! `oops status`: what a run would do, and why.

use std::{collections::BTreeMap, path::Path};

use oops_engine::{Planned, Session, Silent, State};
use oops_pipeline::Graph;
use oops_stage::Registry;

use crate::{
    args::Status,
    forecast::Forecast,
    open::{self, Answer},
    platform::CANCEL,
    terminal::out,
    units::size,
    warnings,
};

/// Runs the command.
pub(crate) fn status(args: &Status, cache: Option<&Path>, registry: &Registry) -> Answer {
    let mut graph = open::graph(&args.pipeline, registry)?;
    let target = args.explain.as_ref().map(|name| graph.find(name)).transpose()?;
    let needed = target.map_or_else(|| (0..graph.nodes.len()).collect(), |i| graph.with_ancestors([i]));
    graph.check(&needed)?;
    let store = open::store(cache)?;
    let session = Session { graph: &graph, store: &store, observer: &Silent, cancel: &CANCEL };
    if let Some(i) = target {
        out(&super::explain::text(&graph, &oops_engine::explain(session, i)?));
        return Ok(0);
    }
    let plan = oops_engine::plan(session, needed)?;
    lines(&graph, &plan, &BTreeMap::new()).iter().for_each(|l| out(l));
    let name = |p: &Planned| graph.nodes[p.node].name.clone();
    let said = plan.iter().flat_map(|p| warnings::planned(&graph, p).into_iter().map(move |m| (name(p), m)));
    warnings::lines(&said.collect::<Vec<_>>()).iter().for_each(|l| out(l));
    Ok(0)
}

/// One line per stage, with forecasts of nodes that have one, and how many warnings there are.
pub(crate) fn lines(graph: &Graph<'_>, plan: &[Planned], forecasts: &BTreeMap<usize, Forecast>) -> Vec<String> {
    let width = |f: &dyn Fn(usize) -> usize| plan.iter().map(|p| f(p.node)).max().unwrap_or(0);
    let (name_width, stage_width) =
        (width(&|i| graph.nodes[i].name.len()), width(&|i| graph.nodes[i].stage.name().len()));
    let line = |p: &Planned| {
        let node = &graph.nodes[p.node];
        let forecast = forecasts.get(&p.node).map(|f| format!(" · {}", f.text())).unwrap_or_default();
        let warned = warnings::count(warnings::planned(graph, p).len());
        let state = describe(&p.state);
        format!("{:name_width$}  {:stage_width$}  {state}{forecast}{warned}", node.name, node.stage.name())
    };
    plan.iter().map(line).collect()
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
