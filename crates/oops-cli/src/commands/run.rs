//! `oops run`: makes what is not in the store yet, then prints the reports.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use oops_artifact::Kind;
use oops_core::{Class, Fault, Result};
use oops_engine::{Lookups, Outcome, Planned, Rates, Session, Silent, State};
use oops_pipeline::Graph;
use oops_stage::Registry;
use serde::Serialize;
use serde_json::Value;

use crate::{
    args::Run,
    forecast::{self, Forecast},
    observer::{Printer, Screen},
    open::{self, Answer},
    platform::{CANCEL, catch_interrupt},
    show,
    terminal::out,
    units::seconds,
    warnings::{self, Checked},
};

#[derive(Serialize)]
struct Summary<'a> {
    executed: &'a [String],
    cached: &'a [String],
    failed: Vec<&'a str>,
    not_run: &'a [String],
    warnings: Value,
    wall_s: f64,
}

/// Runs the command.
pub(crate) fn run(args: &Run, cache: Option<&Path>, registry: &Registry) -> Answer {
    let mut graph = open::graph(&args.pipeline, registry)?;
    let selection = args.selection();
    let needed = selection.needed(&graph)?;
    graph.check(&needed)?;
    let store = open::store(cache)?;
    let screen = Screen::open(args.json, args.quiet, args.scheduling.events.as_deref())?;
    let checked = Checked { cell: None, graph: &graph, needed: needed.clone() };
    if let Some(code) = warnings::tell(&[checked], args.scheduling.strict, &screen) {
        return Ok(code);
    }
    if args.preview {
        let session = Session { graph: &graph, store: &store, observer: &Silent, cancel: &CANCEL };
        return Ok(dry_run(args, session, needed, &screen)?);
    }
    let width = graph.nodes.iter().map(|n| n.name.len()).max().unwrap_or(0);
    let printer = Printer { screen: &screen, news_only: false, width, cell: None, label: String::new() };
    let session = Session { graph: &graph, store: &store, observer: &printer, cancel: &CANCEL };
    catch_interrupt();
    let outcome = oops_engine::run(session, &selection, &args.pipeline.overrides, args.scheduling.limits())?;
    finish(args, &graph, &outcome, &screen)
}

fn finish(args: &Run, graph: &Graph<'_>, outcome: &Outcome, screen: &Screen) -> Answer {
    reports(graph, outcome, screen)?;
    let Outcome { executed, cached, open, wall_s, .. } = outcome;
    let not_run = if open.is_empty() { String::new() } else { format!(", {} not run", open.len()) };
    let (ran, found, time) = (executed.len(), cached.len(), seconds(*wall_s));
    screen.news(&format!("{ran} executed, {found} cached{not_run}, {time}"));
    outcome.failed.iter().for_each(|(_, fault)| screen.warn(&format!("error: {fault}")));
    let worst = worst(outcome.failed.iter().map(|(_, fault)| fault));
    match worst.map(Fault::class) {
        None | Some(Class::Config) => {}
        Some(Class::Interrupted) => screen.warn("  everything that was finished is kept"),
        Some(_) if args.scheduling.keep_going => screen.warn("  finished stages are kept; run the same command again"),
        Some(_) => screen.warn("  finished stages are kept; run the same command again to go on from there"),
    }
    let failed = outcome.failed.iter().map(|(name, _)| name.as_str()).collect();
    let warnings = warnings::json(&outcome.warnings);
    let summary = Summary { executed, cached, failed, not_run: open, warnings, wall_s: *wall_s };
    screen.event("end", None, serde_json::to_value(&summary).unwrap_or_default());
    if args.json {
        out(&show::line(&summary)?);
    }
    Ok(worst.map_or(0, |fault| fault.class().exit_code()))
}

/// The failure that decides the exit code: an interruption, or else the first.
pub(crate) fn worst<'f>(failed: impl Iterator<Item = &'f Fault> + Clone) -> Option<&'f Fault> {
    let mut all = failed.clone();
    all.find(|f| f.class() == Class::Interrupted).or_else(|| failed.clone().next())
}

/// Prints the reports that the user asked for and that there are.
fn reports(graph: &Graph<'_>, outcome: &Outcome, screen: &Screen) -> Result<()> {
    let asked = |name: &String| outcome.executed.contains(name) || outcome.cached.contains(name);
    let reports = outcome.results.iter().filter(|(i, _)| graph.nodes[**i].stage.output() == Kind::Report);
    for (i, _) in reports.filter(|(i, _)| asked(&graph.nodes[**i].name)) {
        screen.say(&format!("\n{}", show::text(graph, &outcome.results, *i)?));
    }
    Ok(())
}

fn dry_run(args: &Run, session: Session<'_>, needed: BTreeSet<usize>, screen: &Screen) -> Result<u8> {
    let graph = session.graph;
    let forced = args.selection().forced(graph)?;
    let plan = oops_engine::plan_with(session, needed, &forced, &mut Lookups::default())?;
    let name = |p: &Planned| graph.nodes[p.node].name.clone();
    let (would_run, cached): (Vec<_>, Vec<_>) = plan.iter().partition(|p| !matches!(p.state, State::Cached(_)));
    // Records are only read for what would run.
    let rates = (!would_run.is_empty()).then(|| Rates::of(session.store));
    let forecast = |p: &&Planned| Some((p.node, Forecast::of(graph, (p.node, &p.identity), rates.as_ref()?)?));
    let forecasts: BTreeMap<usize, Forecast> = would_run.iter().filter_map(forecast).collect();
    super::status::lines(graph, &plan, &forecasts).iter().for_each(|line| screen.news(line));
    forecast::total(forecasts.values()).iter().for_each(|line| screen.news(line));
    let limits = args.scheduling.limits();
    let short = |(i, f): (&usize, &Forecast)| {
        f.shortages(limits, session.store).into_iter().map(|message| (graph.nodes[*i].name.clone(), message)).collect()
    };
    let short: Vec<(String, String)> = forecasts.iter().flat_map(|f| -> Vec<_> { short(f) }).collect();
    short.iter().for_each(|(instance, message)| screen.warning(instance, None, "", message));
    let refused = warnings::tell_planned(graph, &plan, None, args.scheduling.strict, screen);
    if args.json {
        let names = |list: &[&Planned]| list.iter().map(|p| name(p)).collect::<Vec<_>>();
        let forecast: Vec<_> = forecasts.iter().map(|(&i, f)| f.json(&graph.nodes[i].name)).collect();
        let said = |p: &Planned| warnings::planned(graph, p).into_iter().map(|message| (name(p), message)).collect();
        let said: Vec<_> = plan.iter().flat_map(|p| -> Vec<_> { said(p) }).chain(short).collect();
        let line = serde_json::json!({
            "would_run": names(&would_run), "cached": names(&cached), "forecast": forecast,
            "warnings": warnings::json(&said),
        });
        out(&show::line(&line)?);
    }
    Ok(refused.unwrap_or(u8::from(!would_run.is_empty())))
}
