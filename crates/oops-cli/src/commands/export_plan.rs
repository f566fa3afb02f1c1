//! `oops export-plan`: a plan with its provenance as one file to publish.

use std::{fs, path::Path};

use oops_artifact::{Kind, PlanFile, Step};
use oops_core::{Digest, Fault, Result, bail_if};
use oops_stage::Registry;

use super::show;
use crate::{
    args::ExportPlan,
    open::Answer,
    recorded::{Entry, Shelf},
    terminal::out,
};

/// Runs the command.
pub(crate) fn export_plan(args: &ExportPlan, cache: Option<&Path>, registry: &Registry) -> Answer {
    let shelf = show::shelf(&args.from, &args.overrides, &args.stage, cache, registry)?;
    let text = plan_file(&shelf, shelf.get(&args.stage)?)?.text()?;
    match &args.out {
        Some(path) => {
            write(path, &text)?;
            out(&format!("wrote {}", path.display()));
        }
        None => out(text.trim_end()),
    }
    Ok(0)
}

/// The file of a plan.
fn plan_file(shelf: &Shelf, entry: &Entry) -> Result<PlanFile> {
    let kind = entry.artifact.kind;
    bail_if(kind != Kind::Plan, || {
        let plans: Vec<&str> =
            shelf.entries.iter().filter(|e| e.artifact.kind == Kind::Plan).map(|e| e.name.as_str()).collect();
        let plans = if plans.is_empty() { "none".to_owned() } else { plans.join(", ") };
        Fault::config(format!("`{}` makes {kind}, not a plan", entry.name)).help(format!("plans: {plans}"))
    })?;
    let ancestry = shelf.ancestry(entry);
    PlanFile::of(
        &entry.artifact,
        model(&ancestry),
        ancestry.iter().map(|e| step(e)).collect(),
        env!("CARGO_PKG_VERSION"),
    )
}

/// The model that a plan is for: the last of its ancestry that others were made from as `model`.
fn model(ancestry: &[&Entry]) -> Option<Digest> {
    ancestry.iter().rev().find_map(|e| e.made.inputs.get("model").and_then(|list| list.first().copied()))
}

fn step(entry: &Entry) -> Step {
    Step {
        instance: entry.name.clone(),
        stage: entry.made.stage.clone(),
        version: entry.made.version,
        params: entry.made.params.clone(),
        sources: entry.made.sources.clone(),
        seed: entry.made.seed,
    }
}

/// Whole or not at all: a reader never sees half a plan.
fn write(path: &Path, text: &str) -> Result<()> {
    let part = path.with_extension("part");
    fs::write(&part, text)
        .and_then(|()| fs::rename(&part, path))
        .map_err(|e| Fault::store(format!("cannot write: {e}")).at(path.display()))
}
