//! `oops show`: prints or copies what a stage made.

use std::{collections::BTreeMap, fs, path::Path};

use oops_artifact::Artifact;
use oops_core::{Fault, Result};
use oops_engine::{Resolved, Session, Silent, State};
use oops_pipeline::Graph;
use oops_stage::Registry;

use crate::{
    args::{Pipeline, Show},
    open::{self, Answer, Stop},
    platform::CANCEL,
    show,
    terminal::out,
};

/// Runs the command.
pub(crate) fn show(args: &Show, cache: Option<&Path>, registry: &Registry) -> Answer {
    let mut graph = open::graph(&args.pipeline, registry)?;
    let i = graph.find(&args.stage)?;
    let results = results(&mut graph, i, &args.pipeline, cache)?;
    let found = &results[&i];
    match &args.out {
        Some(dir) => copy(&found.artifact, dir)?,
        None if args.json => out(&show::json(&graph, &results, i)?),
        None => out(&show::text(&graph, &results, i)?),
    }
    Ok(0)
}

/// The result of stage `i`, which must be in the store, with those that it was made from.
pub(super) fn results(
    graph: &mut Graph<'_>,
    i: usize,
    pipeline: &Pipeline,
    cache: Option<&Path>,
) -> std::result::Result<BTreeMap<usize, Resolved>, Stop> {
    graph.check(&graph.with_ancestors([i]))?;
    let store = open::store(cache)?;
    let session = Session { graph, store: &store, observer: &Silent, cancel: &CANCEL };
    let results: BTreeMap<usize, Resolved> = oops_engine::artifact(session, i)?
        .into_iter()
        .filter_map(|p| if let State::Cached(found) = p.state { Some((p.node, *found)) } else { None })
        .collect();
    if results.contains_key(&i) { Ok(results) } else { Err(not_cached(pipeline, &graph.nodes[i].name).into()) }
}

fn not_cached(pipeline: &Pipeline, stage: &str) -> Fault {
    let set = pipeline.overrides.iter().map(|o| format!(" --set {o}")).collect::<Vec<_>>().concat();
    Fault::data(format!("`{stage}` is not in the store with these parameters"))
        .help(format!("run it first: oops run {} {stage}{set}", pipeline.file.display()))
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
