//! Every command, as a user sees it.

mod support;

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use support::{Place, workspace};

/// A model, its size, and a text: milliseconds.
const PIPELINE: &str = "\
version: 1
stages:
  dense: { use: source.model, with: { path: DATA/model } }
  text: { use: source.text, in: { model: dense }, with: { path: DATA/text/heldout.jsonl, separator: '', sequences: 4, sequence_tokens: 32 } }
  size: { use: eval.size, in: { models: dense } }
  summary: { use: report.summary, in: { metrics: size } }
";

fn place() -> (Place, PathBuf) {
    let place = Place::of(PIPELINE);
    let pipeline = place.path("p.yaml");
    (place, pipeline)
}

#[test]
fn run_says_what_it_did_and_prints_reports() {
    let (place, _) = place();
    let first = place.oops(&["run", "p.yaml"]);
    assert_eq!(first.code, 0, "{}", first.stderr);
    assert!(first.stdout.contains("4 executed, 0 cached"), "{}", first.stdout);
    assert!(first.stdout.contains("| dense "), "{}", first.stdout);
    assert_eq!(first.stderr, "");
    let quiet = place.oops(&["run", "p.yaml", "--quiet"]);
    assert!(quiet.stdout.trim().starts_with("| model"), "{}", quiet.stdout);
    let json = place.oops(&["run", "p.yaml", "--json", "summary"]);
    assert_eq!(json.stdout.lines().count(), 1, "{}", json.stdout);
    let line: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(line["cached"], serde_json::json!(["dense", "size", "summary"]));
    assert_eq!((&line["executed"], &line["failed"]), (&serde_json::json!([]), &serde_json::json!([])));
    assert!(line["wall_s"].as_f64().unwrap() > 0.0, "{line}");
}

#[test]
fn a_dry_run_is_a_gate() {
    let (place, _) = place();
    let before = place.oops(&["run", "p.yaml", "--dry-run"]);
    assert_eq!(before.code, 1);
    assert!(before.stdout.contains("would run new") && before.stdout.contains("unless dense comes out as before"));
    place.oops(&["run", "p.yaml"]);
    assert_eq!(place.oops(&["run", "p.yaml", "--dry-run"]).code, 0);
    let changed = place.oops(&["run", "p.yaml", "--dry-run", "--json", "--set", "text.with.sequences=5"]);
    assert_eq!(changed.code, 1);
    assert_eq!(serde_json::from_str::<Value>(&changed.stdout).unwrap()["would_run"], serde_json::json!(["text"]));
    assert!(changed.stderr.contains("param sequences: 4 → 5"), "{}", changed.stderr);
    let status = place.oops(&["status", "p.yaml", "--set", "defaults.seed=3"]);
    assert!(status.stdout.contains("seed: 0 → 3"), "{}", status.stdout);
}

#[test]
fn show_prints_copies_or_says_what_to_run() {
    let (place, pipeline) = place();
    let early = place.oops(&["show", "p.yaml", "size", "--set", "defaults.seed=4"]);
    assert_eq!(early.code, 3);
    assert!(early.stderr.contains("oops run p.yaml size --set defaults.seed=4"), "{}", early.stderr);
    place.oops(&["run", "p.yaml"]);
    let size = place.show(&pipeline, "size", &[]);
    assert_eq!(size["models"][0]["model"], "dense");
    assert!(place.oops(&["show", "p.yaml", "size"]).stdout.starts_with("model "));
    let wrong = place.oops(&["show", "p.yaml", "sizes"]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.stderr.contains("did you mean `size`"), "{}", wrong.stderr);
    assert_eq!(place.oops(&["show", "p.yaml", "dense", "--out", "copy"]).code, 0);
    let original = workspace().join("data/model/model.safetensors");
    assert_eq!(fs::read(place.path("copy/model.safetensors")).unwrap(), fs::read(original).unwrap());
}

#[test]
fn verify_finds_damage_once_and_the_next_run_heals_it() {
    let (place, _) = place();
    place.oops(&["run", "p.yaml"]);
    assert_eq!(place.oops(&["verify"]).code, 0);
    let record = fs::read_dir(place.path("store/actions")).unwrap().next().unwrap().unwrap().path();
    fs::write(&record, "{").unwrap();
    let found = place.oops(&["verify"]);
    assert_eq!(found.code, 1);
    assert!(found.stdout.contains("does not parse"), "{}", found.stdout);
    assert_eq!(place.oops(&["verify"]).code, 0);
    assert!(place.oops(&["run", "p.yaml"]).stdout.contains("1 executed, 3 cached"));
    assert!(record.exists());
}

#[test]
fn dag_stages_and_help_answer_without_a_store() {
    let (place, _) = place();
    assert!(place.oops(&["dag", "p.yaml"]).stdout.contains("summary  report.summary"));
    assert!(place.oops(&["dag", "p.yaml", "--format", "dot"]).stdout.starts_with("digraph"));
    assert!(place.oops(&["stages"]).stdout.contains("score.wanda"));
    assert!(place.oops(&["stages", "reconstruct.ridge"]).stdout.contains("damping: number"));
    let wrong = place.oops(&["stages", "score.wandaa"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("did you mean `score.wanda`"), "{}", wrong.stderr);
    assert!(place.oops(&["--help"]).stdout.contains("Exit codes"));
    assert!(!place.path("store").exists());
}

#[test]
fn an_interrupted_run_says_so_and_can_go_on() {
    let (place, _) = place();
    place.oops(&["run", "p.yaml"]);
    let text = fs::read_to_string(place.path("p.yaml")).unwrap().replace("sequences: 4", "sequences: 4000");
    let stats = "  stats: { use: calibrate.activations, in: { model: dense, tokens: text } }\n";
    place.write("p.yaml", &(text.replace("sequence_tokens: 32", "sequence_tokens: 256") + stats));
    let run = place.command(&["run", "p.yaml", "--json"]).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    assert!(Command::new("kill").args(["-INT", &run.id().to_string()]).status().unwrap().success());
    let done = run.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("run the same command"), "{stderr}");
    place.verified();
}
