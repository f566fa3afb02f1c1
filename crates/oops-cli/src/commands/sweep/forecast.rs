//! `oops sweep --dry-run`: what would run over all cells, each action once.

use std::collections::BTreeMap;

use oops_core::{Digest, Result};
use oops_engine::{Lookups, Rates, Session, Silent, State};
use oops_pipeline::Graph;
use oops_store::Store;
use serde_json::json;

use super::Opened;
use crate::{
    args::SweepArgs,
    forecast::{self, Forecast},
    observer::Screen,
    platform::CANCEL,
    show,
    terminal::out,
};

/// An action that would run, for the first cell that needs it.
struct Run<'g> {
    cell: &'g str,
    graph: &'g Graph<'g>,
    node: usize,
}

/// Prints it; 1 if anything would run.
pub(super) fn forecast(args: &SweepArgs, sweeps: &[Opened<'_>], store: &Store, screen: &Screen) -> Result<u8> {
    let (would_run, cached) = plan(sweeps, store)?;
    let rates = (!would_run.is_empty()).then(|| Rates::of(store));
    let expected = |r: &Run<'_>| Forecast::of(r.graph, r.node, rates.as_ref()?);
    let forecasts: Vec<Option<Forecast>> = would_run.iter().map(expected).collect();
    let name = |r: &Run<'_>| r.graph.nodes[r.node].name.clone();
    let stage = |r: &Run<'_>| r.graph.nodes[r.node].stage.name();
    let width = would_run.iter().map(|r| name(r).len()).max().unwrap_or(0);
    let stage_width = would_run.iter().map(|r| stage(r).len()).max().unwrap_or(0);
    for (run, forecast) in would_run.iter().zip(&forecasts) {
        let forecast = forecast.as_ref().map(|f| format!(" · {}", f.text())).unwrap_or_default();
        screen.news(&format!(
            "{:width$}  {:stage_width$}  would run for {}{forecast}",
            name(run),
            stage(run),
            run.cell
        ));
    }
    forecast::total(forecasts.iter().flatten()).iter().for_each(|line| screen.news(line));
    screen.say(&format!("{} would run, {cached} cached", would_run.len()));
    if args.output.json {
        let label = |r: &Run<'_>| format!("{}: {}", r.cell, name(r));
        let runs: Vec<String> = would_run.iter().map(label).collect();
        let heavy = would_run.iter().zip(&forecasts).filter_map(|(r, f)| Some(f.as_ref()?.json(&label(r))));
        let heavy: Vec<_> = heavy.collect();
        out(&show::line(&json!({ "would_run": runs, "cached": cached, "forecast": heavy }))?);
    }
    Ok(u8::from(!would_run.is_empty()))
}

/// What would run over all cells, each action once, and how much is in the store.
fn plan<'g>(sweeps: &'g [Opened<'_>], store: &Store) -> Result<(Vec<Run<'g>>, usize)> {
    let (mut known, mut lookups) = (BTreeMap::<Digest, bool>::new(), Lookups::default());
    let mut would_run = Vec::new();
    for opened in sweeps {
        for (i, judged) in opened.graphs.iter().enumerate() {
            let session = Session { graph: &judged.graph, store, observer: &Silent, cancel: &CANCEL };
            for planned in oops_engine::plan_with(session, judged.needed(), &mut lookups)? {
                let cached = matches!(planned.state, State::Cached(_));
                if known.insert(planned.identity, cached).is_none() && !cached {
                    would_run.push(Run { cell: &opened.cell(i).name, graph: &judged.graph, node: planned.node });
                }
            }
        }
    }
    Ok((would_run, known.values().filter(|cached| **cached).count()))
}
