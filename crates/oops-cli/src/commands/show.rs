//! `oops show`: what a stage made, or what a run did.

use std::{fs, path::Path};

use oops_artifact::Artifact;
use oops_core::{Fault, Result};
use oops_report::grid::{Grid, Role};
use oops_stage::Registry;
use oops_store::LoggedRun;
use serde_json::{Value, json};

use super::log;
use crate::{
    args::{Pipeline, Show},
    open::{self, Answer, Stop},
    recorded::{Entry, Shelf, find_run, is_run, shown},
    show,
    terminal::out,
    units::moment,
    warnings,
};

/// Runs the command.
pub(crate) fn show(args: &Show, cache: Option<&Path>, registry: &Registry) -> Answer {
    let (file, overrides) = (&args.pipeline.file, &args.pipeline.overrides);
    let Some(stage) = &args.stage else {
        return whole(args, cache, registry);
    };
    let shelf = shelf(file, overrides, stage, cache, registry)?;
    let found = shelf.get(stage)?;
    match &args.out {
        Some(dir) => copy(&found.artifact, dir)?,
        None if args.json => out(&show::entry_json(&shelf, found)?),
        None => out(&show::entry_text(&shelf, found)?),
    }
    Ok(0)
}

/// Whether the word names a run, and no file is called so.
fn names_run(from: &Path) -> Option<&str> {
    from.to_str().filter(|word| !from.exists() && is_run(word))
}

/// The results that a stage was made from, and its own: of a recorded run, or of a pipeline as it is in the store.
pub(super) fn shelf(
    from: &Path,
    overrides: &[String],
    stage: &str,
    cache: Option<&Path>,
    registry: &Registry,
) -> std::result::Result<Shelf, Stop> {
    let store = open::store(cache)?;
    if let Some(word) = names_run(from) {
        no_overrides(overrides)?;
        let run = find_run(&store, word)?;
        return Ok(Shelf::of_run(&store, &run.id, &run.log)?);
    }
    let pipeline = Pipeline { file: from.to_owned(), overrides: overrides.to_vec() };
    let mut graph = open::graph(&pipeline, registry)?;
    let i = graph.find(stage)?;
    let needed = graph.with_ancestors([i]);
    graph.check(&needed)?;
    let shelf = Shelf::of_graph(&store, &from.display().to_string(), &graph, needed)?;
    if shelf.missing.iter().any(|m| m == stage) { Err(not_cached(&pipeline, stage).into()) } else { Ok(shelf) }
}

fn no_overrides(overrides: &[String]) -> Result<()> {
    let fault = || Fault::config("a recorded run takes no overrides").at("--set");
    if overrides.is_empty() { Ok(()) } else { Err(fault()) }
}

pub(super) fn not_cached(pipeline: &Pipeline, stage: &str) -> Fault {
    let set = pipeline.overrides.iter().map(|o| format!(" --set {o}")).collect::<Vec<_>>().concat();
    Fault::data(format!("`{stage}` is not in the store with these parameters"))
        .help(format!("run it first: oops run {} {stage}{set}", pipeline.file.display()))
}

/// A whole run, when no stage is named.
fn whole(args: &Show, cache: Option<&Path>, registry: &Registry) -> Answer {
    let Some(word) = names_run(&args.pipeline.file) else {
        let graph = open::graph(&args.pipeline, registry)?;
        let names: Vec<&str> = graph.nodes.iter().map(|n| n.name.as_str()).collect();
        return Err(Fault::config("which stage?").help(format!("stages: {}", names.join(", "))).into());
    };
    no_overrides(&args.pipeline.overrides)?;
    if args.out.is_some() {
        return Err(Fault::config("--out copies the result of one stage").help("name the stage").into());
    }
    let store = open::store(cache)?;
    let run = find_run(&store, word)?;
    let shelf = Shelf::of_run(&store, &run.id, &run.log)?;
    if args.json {
        let mut object = log::object(&run);
        object["stages"] = stages(&run, &shelf).json();
        out(&object.to_string());
    } else {
        out(&describe(&run, &shelf));
    }
    Ok(0)
}

fn describe(run: &LoggedRun, shelf: &Shelf) -> String {
    let mut lines = vec![
        format!("run {}, {} UTC", run.id, moment(run.at_unix_us / 1_000_000)),
        format!("pipeline: {}", shown(&run.log.pipeline)),
    ];
    lines.extend(run.log.overrides.iter().map(|o| format!("override: {o}")));
    if let Some(outcome) = &run.log.outcome {
        let revision = outcome.revision.as_ref().map(|r| format!(", git {r}")).unwrap_or_default();
        lines.push(format!("oops {}{revision}, {}", outcome.program, crate::units::seconds(outcome.wall_s)));
        lines.extend(outcome.failed.iter().map(|(stage, message)| format!("failed: {stage}: {message}")));
    }
    lines.extend(shelf.missing.iter().map(|name| format!("no longer in the store: {name}")));
    lines.extend(warnings::lines(&warnings::of(&shelf.entries)));
    let mut grid = stages(run, shelf);
    grid.only_changed();
    format!("{}\n\n{}", lines.join("\n"), grid.plain())
}

/// A line per stage.
fn stages(run: &LoggedRun, shelf: &Shelf) -> Grid {
    let row = |e: &Entry| {
        let ran = run.log.outcome.as_ref().map(|o| if o.executed.contains(&e.name) { "ran" } else { "cached" });
        let bytes = e.artifact.tree.bytes();
        let cells = [
            ("stage", json!(e.name)),
            ("use", json!(e.made.stage)),
            ("makes", json!(e.artifact.kind)),
            ("result", json!(ran)),
            ("seconds", json!(e.record.provenance.wall_s)),
            ("bytes", json!(bytes)),
            ("key", json!(e.key.short())),
            ("warnings", if e.record.warnings.is_empty() { Value::Null } else { json!(e.record.warnings.len()) }),
        ];
        cells.map(|(name, value): (&str, Value)| (name.to_owned(), Role::Label, value)).to_vec()
    };
    Grid::of(&shelf.entries.iter().map(row).collect::<Vec<_>>(), Vec::new())
}

fn copy(artifact: &Artifact, dir: &Path) -> Result<()> {
    for (name, from) in &artifact.paths {
        let to = dir.join(name);
        let parent = to.parent().unwrap_or(dir);
        fs::create_dir_all(parent).map_err(|e| Fault::writing(parent, &e))?;
        let mut bytes = fs::File::open(from).map_err(|e| Fault::reading(from, &e))?;
        let mut file = fs::File::create(&to).map_err(|e| Fault::writing(&to, &e))?;
        std::io::copy(&mut bytes, &mut file).map_err(|e| Fault::writing(&to, &e))?;
    }
    out(&format!("{} files, {} bytes in {}", artifact.paths.len(), artifact.tree.bytes(), dir.display()));
    Ok(())
}
