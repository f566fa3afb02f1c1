//! `oops sweep --dry-run`: what would run over all cells, each action once.

use std::collections::{BTreeMap, BTreeSet};

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
    warnings,
};

/// An action that would run, for the first cell that needs it.
struct Run<'g> {
    cell: &'g str,
    graph: &'g Graph<'g>,
    node: usize,
    identity: Digest,
}

/// Prints it; 1 if anything would run.
pub(super) fn forecast(args: &SweepArgs, sweeps: &[Opened<'_>], store: &Store, screen: &Screen) -> Result<u8> {
    let Planned { would_run, cached, mut warned, refused } = plan(args, sweeps, store, screen)?;
    let rates = (!would_run.is_empty()).then(|| Rates::of(store));
    let expected = |r: &Run<'_>| Forecast::of(r.graph, (r.node, &r.identity), rates.as_ref()?);
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
    for (run, forecast) in would_run.iter().zip(&forecasts) {
        for message in forecast.iter().flat_map(|f| f.shortages(args.scheduling.limits(), store)) {
            screen.warning(&name(run), Some(run.cell), "", &message);
            warned.push((name(run), message));
        }
    }
    forecast::total(forecasts.iter().flatten()).iter().for_each(|line| screen.news(line));
    screen.say(&format!("{} would run, {cached} cached", would_run.len()));
    if args.output.json {
        let label = |r: &Run<'_>| format!("{}: {}", r.cell, name(r));
        let runs: Vec<String> = would_run.iter().map(label).collect();
        let heavy = would_run.iter().zip(&forecasts).filter_map(|(r, f)| Some(f.as_ref()?.json(&label(r))));
        let heavy: Vec<_> = heavy.collect();
        let warned = warnings::json(&warned);
        out(&show::line(&json!({ "would_run": runs, "cached": cached, "forecast": heavy, "warnings": warned }))?);
    }
    Ok(refused.unwrap_or(u8::from(!would_run.is_empty())))
}

/// What the plans of all cells say together.
struct Planned<'g> {
    /// Each action once.
    would_run: Vec<Run<'g>>,
    /// How much is in the store.
    cached: usize,
    /// Warnings of checks and of results in the store, each message of an instance once.
    warned: Vec<(String, String)>,
    /// The exit code, where warnings are errors and there are some.
    refused: Option<u8>,
}

fn plan<'g>(args: &SweepArgs, sweeps: &'g [Opened<'_>], store: &Store, screen: &Screen) -> Result<Planned<'g>> {
    let (mut known, mut lookups) = (BTreeMap::<Digest, bool>::new(), Lookups::default());
    let mut all = Planned { would_run: Vec::new(), cached: 0, warned: Vec::new(), refused: None };
    for opened in sweeps {
        for (i, judged) in opened.graphs.iter().enumerate() {
            let (graph, cell) = (&judged.graph, opened.cell(i).name.as_str());
            let session = Session { graph, store, observer: &Silent, cancel: &CANCEL };
            let plan = oops_engine::plan_with(session, judged.needed(), &BTreeSet::new(), &mut lookups)?;
            let refused = warnings::tell_planned(graph, &plan, Some(cell), args.scheduling.strict, screen);
            all.refused = all.refused.or(refused);
            for planned in plan {
                let name = || graph.nodes[planned.node].name.clone();
                let said = warnings::planned(graph, &planned).into_iter().map(|message| (name(), message));
                let new: Vec<_> = said.filter(|w| !all.warned.contains(w)).collect();
                all.warned.extend(new);
                let cached = matches!(planned.state, State::Cached(_));
                if known.insert(planned.identity, cached).is_none() && !cached {
                    let (node, identity) = (planned.node, planned.identity);
                    all.would_run.push(Run { cell, graph, node, identity });
                }
            }
        }
    }
    all.cached = known.values().filter(|cached| **cached).count();
    Ok(all)
}
