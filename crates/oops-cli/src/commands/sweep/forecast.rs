//! `oops sweep --dry-run`: what would run over all cells, each action once.

use std::collections::BTreeSet;

use oops_core::{Digest, Result};
use oops_engine::{Session, Silent, State};
use oops_store::Store;
use serde_json::json;

use super::{Opened, output};
use crate::{args::SweepArgs, platform::CANCEL, show, terminal::out};

/// Prints it; 1 if anything would run.
pub(super) fn forecast(args: &SweepArgs, sweeps: &[Opened<'_>], store: &Store) -> Result<u8> {
    let mut known: BTreeSet<Digest> = BTreeSet::new();
    let (mut would_run, mut cached) = (Vec::new(), 0usize);
    for opened in sweeps {
        for (i, judged) in opened.graphs.iter().enumerate() {
            let session = Session { graph: &judged.graph, store, observer: &Silent, cancel: &CANCEL };
            for planned in oops_engine::plan(session, judged.needed())? {
                if !known.insert(planned.identity) {
                    continue;
                }
                let node = &judged.graph.nodes[planned.node];
                match planned.state {
                    State::Cached(_) => cached += 1,
                    _ => would_run.push((opened.cell(i).name.clone(), node.name.clone(), node.stage.name())),
                }
            }
        }
    }
    let width = would_run.iter().map(|(_, name, _)| name.len()).max().unwrap_or(0);
    let stage_width = would_run.iter().map(|(_, _, stage)| stage.len()).max().unwrap_or(0);
    for (cell, name, stage) in would_run.iter().filter(|_| !args.output.quiet) {
        output::say(args, &format!("{name:width$}  {stage:stage_width$}  would run for {cell}"));
    }
    output::say(args, &format!("{} would run, {cached} cached", would_run.len()));
    if args.output.json {
        let runs: Vec<String> = would_run.iter().map(|(cell, name, _)| format!("{cell}: {name}")).collect();
        out(&show::line(&json!({ "would_run": runs, "cached": cached }))?);
    }
    Ok(u8::from(!would_run.is_empty()))
}
