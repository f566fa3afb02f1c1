//! `oops export-cache` and `oops import-cache`: results as one file, from store to store.

use std::path::Path;

use oops_engine::{Resolved, Session, Silent, State};
use oops_stage::{Registry, vectors};
use oops_store::Record;

use super::show;
use crate::{
    args::{ExportCache, ImportCache},
    meter::Meter,
    open::{self, Answer},
    platform::CANCEL,
    terminal::{err, out},
    units::{seconds, size},
    warnings,
};

/// Writes what a stage made into a file.
pub(crate) fn export(args: &ExportCache, cache: Option<&Path>, registry: &Registry) -> Answer {
    let mut graph = open::graph(&args.pipeline, registry)?;
    let i = graph.find(&args.stage)?;
    graph.check(&graph.with_ancestors([i]))?;
    let store = open::store(cache)?;
    let session = Session { graph: &graph, store: &store, observer: &Silent, cancel: &CANCEL };
    let found = oops_engine::artifact(session, i)?.into_iter().filter_map(|p| match p.state {
        State::Cached(found) => Some((p.node, *found)),
        _ => None,
    });
    let mut found: Vec<(usize, Resolved)> = found.collect();
    if !found.iter().any(|(node, _)| *node == i) {
        return Err(show::not_cached(&args.pipeline, &args.stage).into());
    }
    found.retain(|(node, r)| *node == i || args.with_inputs && !refers_outside(&r.record));
    let records: Vec<Record> = found.into_iter().map(|(_, r)| r.record).collect();
    let mut meter = Meter::new("export");
    let packed = store.export(&records, &args.out, &mut |done, total| meter.at(done, total))?;
    drop(meter);
    let results = if packed.records == 1 { "1 result".to_owned() } else { format!("{} results", packed.records) };
    out(&format!("{results}, {} files, {} in {}", packed.files, size(packed.bytes), args.out.display()));
    Ok(0)
}

/// Whether a result hands on files outside the store, which the other machine has too: `source.model` and its like.
fn refers_outside(record: &Record) -> bool {
    let preimage: serde_json::Value = serde_json::from_str(&record.preimage).unwrap_or_default();
    let sources = preimage["sources"].as_object();
    let is_source = |digest: String| sources.is_some_and(|s| s.values().any(|v| v.as_str() == Some(&digest)));
    record.files.values().any(|f| is_source(f.digest.to_string()))
}

/// Takes results from a file into the store.
pub(crate) fn import(args: &ImportCache, cache: Option<&Path>) -> Answer {
    let store = open::store(cache)?;
    let mut meter = Meter::new("import");
    let imported = store.import(&args.file, !args.check, &mut |done, total| meter.at(done, total))?;
    drop(meter);
    for record in &imported.results {
        out(&describe(record));
    }
    let here = vectors();
    let other = imported.results.iter().filter_map(|r| r.provenance.vectors.as_deref()).find(|v| *v != here);
    if let Some(other) = other.map(plain) {
        err(&format!(
            "note: results were made on another kind of CPU ({other}, here {here}): the last bits of sums differ"
        ));
    }
    let (all, new) = (imported.results.len(), imported.new);
    out(&if args.check {
        format!("{}: whole, {}", args.file.display(), size(imported.bytes))
    } else {
        format!("{new} new, {} already in {}", all - new, store.root().display())
    });
    Ok(0)
}

/// Names come from a file that anybody may have written.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(100).collect()
}

fn describe(record: &Record) -> String {
    let preimage: serde_json::Value = serde_json::from_str(&record.preimage).unwrap_or_default();
    let stage = preimage["stage"].as_str().unwrap_or("?");
    let bytes = record.files.values().map(|f| f.bytes).sum();
    let made = format!("made in {} on {}", seconds(record.provenance.wall_s), plain(&record.provenance.host));
    let warned = warnings::count(record.warnings.len());
    format!("{}  {}  {}, {made}{warned}", plain(&record.provenance.instance), plain(stage), size(bytes))
}
