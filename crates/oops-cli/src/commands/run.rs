//! `oops run`: makes what is not in the store yet, then prints the reports.

use std::path::Path;

use oops_artifact::Kind;
use oops_core::{Class, Result};
use oops_engine::{Outcome, Planned, Session, State};
use oops_pipeline::Graph;
use oops_stage::Registry;
use serde::Serialize;

use crate::{
    args::Run,
    observer::{Printer, seconds},
    open::{self, Answer},
    platform::{CANCEL, catch_interrupt},
    show,
    terminal::{err, out},
};

#[derive(Serialize)]
struct Summary<'a> {
    executed: &'a [String],
    cached: &'a [String],
    failed: Vec<&'a str>,
    wall_s: f64,
}

/// Runs the command.
pub(crate) fn run(args: &Run, cache: Option<&Path>, registry: &Registry) -> Answer {
    let mut graph = open::graph(&args.pipeline, registry)?;
    let selection = args.selection();
    let needed = selection.needed(&graph)?;
    graph.check(&needed)?;
    let store = open::store(cache)?;
    let width = graph.nodes.iter().map(|n| n.name.len()).max().unwrap_or(0);
    let printer = Printer { to_stderr: args.json, quiet: args.quiet, news_only: false, width };
    let session = Session { graph: &graph, store: &store, observer: &printer, cancel: &CANCEL };
    if args.preview {
        return Ok(dry_run(args, session, needed)?);
    }
    catch_interrupt();
    let outcome = oops_engine::run(session, &selection, &args.pipeline.overrides)?;
    finish(args, &graph, &outcome)
}

fn finish(args: &Run, graph: &Graph<'_>, outcome: &Outcome) -> Answer {
    let say = |text: &str| if args.json { err(text) } else { out(text) };
    if outcome.failed.is_none() {
        reports(graph, outcome, &say)?;
    }
    let (ran, cached) = (outcome.executed.len(), outcome.cached.len());
    if !args.quiet {
        say(&format!("{ran} executed, {cached} cached, {}", seconds(outcome.wall_s)));
    }
    if let Some((_, fault)) = &outcome.failed {
        err(&format!("error: {fault}"));
        match fault.class() {
            Class::Config => {}
            Class::Interrupted => err("  everything that was finished is kept"),
            _ => err("  finished stages are kept; run the same command again to go on from there"),
        }
    }
    if args.json {
        let failed = outcome.failed.iter().map(|(name, _)| name.as_str()).collect();
        let wall_s = outcome.wall_s;
        out(&show::line(&Summary { executed: &outcome.executed, cached: &outcome.cached, failed, wall_s })?);
    }
    Ok(outcome.failed.as_ref().map_or(0, |(_, fault)| fault.class().exit_code()))
}

fn reports(graph: &Graph<'_>, outcome: &Outcome, say: &dyn Fn(&str)) -> Result<()> {
    let asked = |name: &String| outcome.executed.contains(name) || outcome.cached.contains(name);
    let reports = outcome.results.iter().filter(|(i, _)| graph.nodes[**i].stage.output() == Kind::Report);
    for (i, _) in reports.filter(|(i, _)| asked(&graph.nodes[**i].name)) {
        say(&format!("\n{}", show::text(graph, &outcome.results, *i)?));
    }
    Ok(())
}

fn dry_run(args: &Run, session: Session<'_>, needed: std::collections::BTreeSet<usize>) -> Result<u8> {
    let plan = oops_engine::plan(session, needed)?;
    let name = |p: &Planned| session.graph.nodes[p.node].name.clone();
    let (would_run, cached): (Vec<_>, Vec<_>) = plan.iter().partition(|p| !matches!(p.state, State::Cached(_)));
    if !args.quiet {
        super::status::print(session.graph, &plan, args.json);
    }
    if args.json {
        let names = |list: &[&Planned]| list.iter().map(|p| name(p)).collect::<Vec<_>>();
        out(&show::line(&serde_json::json!({ "would_run": names(&would_run), "cached": names(&cached) }))?);
    }
    Ok(u8::from(!would_run.is_empty()))
}
