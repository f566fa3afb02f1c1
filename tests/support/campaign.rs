//! A small pipeline on the embedded model, and the laws that hold after any disturbance of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{Done, Place, names};

const PIPELINE: &str = "\
version: 1
stages:
  dense: { use: source.model, with: { path: DATA/model } }
  text: { use: source.text, in: { model: dense }, with: { path: DATA/text/calibration.jsonl, separator: '', sequences: 4, sequence_tokens: 32 } }
  heldout: { use: source.text, in: { model: dense }, with: { path: DATA/text/heldout.jsonl, separator: '', sequences: 2, sequence_tokens: 32 } }
  stats: { use: calibrate.activations, in: { model: dense, tokens: text } }
  scores: { use: score.flap, in: { model: dense, stats: stats } }
  plan: { use: select.global, in: { model: dense, scores: scores }, with: { remove_fraction: 0.3 } }
  pruned: { use: reconstruct.ridge, in: { model: dense, plan: plan, stats: stats } }
  quality: { use: eval.perplexity, in: { models: [dense, pruned], tokens: heldout }, with: { window_tokens: 32 } }
  size: { use: eval.size, in: { models: [dense, pruned] } }
  summary: { use: report.summary, in: { metrics: [quality, size] } }
";
/// Stages of the pipeline.
pub(crate) const STAGES: usize = 10;

/// Result digests by the instance and the key that they were made for.
pub(crate) type Trees = BTreeMap<(String, String), String>;

/// A place with the pipeline `p.yaml` over the model and texts in `data`.
pub(crate) fn place_over(data: &str) -> Place {
    let place = Place::new();
    place.write("p.yaml", &PIPELINE.replace("DATA", data));
    place
}

/// The same over the embedded data.
pub(crate) fn place() -> Place {
    Place::of(PIPELINE)
}

/// What an undisturbed run makes, and how long it takes.
pub(crate) fn undisturbed() -> (Trees, Duration) {
    let place = place();
    let start = Instant::now();
    place.run(&place.path("p.yaml"), &[]);
    let took = start.elapsed();
    let trees = trees(&place);
    assert_eq!(trees.len(), STAGES);
    (trees, took)
}

fn records(place: &Place) -> Vec<Value> {
    let Ok(entries) = std::fs::read_dir(place.path("store/actions")) else { return Vec::new() };
    let paths = entries.map(|e| e.expect("an entry").path());
    paths.map(|p| serde_json::from_slice(&std::fs::read(p).expect("a record")).expect("JSON")).collect()
}

/// All results in a store.
pub(crate) fn trees(place: &Place) -> Trees {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let of = |r: Value| ((text(&r["provenance"]["instance"]), text(&r["preimage"])), r["files"].to_string());
    records(place).into_iter().map(of).collect()
}

/// Names of the published stages.
pub(crate) fn published(place: &Place) -> BTreeSet<String> {
    trees(place).into_keys().map(|(instance, _)| instance).collect()
}

/// Starts a command and kills it after `delay`; tells whether it was still running.
pub(crate) fn killed(place: &Place, args: &[&str], delay: Duration) -> bool {
    let mut child = place.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts");
    std::thread::sleep(delay);
    let running = child.try_wait().expect("a status").is_none();
    // The process may end between the two lines; then there is nothing to kill.
    let _ = child.kill();
    child.wait().expect("a status");
    running
}

/// What must hold after any disturbance: the store verifies; the next run ends well, runs no published stage again and
/// makes what an undisturbed run makes; the store verifies again.
pub(crate) fn recovers(place: &Place, whole: &Trees, what: &str) {
    place.verified();
    let before = published(place);
    let run = place.run(&place.path("p.yaml"), &[]);
    let again: Vec<String> = names(&run, "executed").into_iter().filter(|n| before.contains(n)).collect();
    assert!(again.is_empty(), "{what}: {again:?} ran again");
    assert_eq!(&trees(place), whole, "{what}");
    place.verified();
}

/// Fails with the output of a command unless its exit code is one of these.
pub(crate) fn ended(done: &Done, codes: &[i32], what: &str) {
    assert!(codes.contains(&done.code), "{what}: {}\n{}\n{}", done.code, done.stdout, done.stderr);
    assert!(!done.stderr.contains("panicked"), "{what}: {}", done.stderr);
}

/// The last report of a place whose store holds everything, packed with all inputs.
pub(crate) fn packed(place: &Place) -> PathBuf {
    let done = place.oops(&["export-cache", "p.yaml", "summary", "--with-inputs", "-o", "all.tar"]);
    ended(&done, &[0], "export");
    place.path("all.tar")
}
