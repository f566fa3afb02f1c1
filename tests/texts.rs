//! Texts and what is measured on them, as a user sees it: what counts as the same text, which windows were measured, and
//! what is refused or told.

mod support;

use std::fs;

use serde_json::Value;
use support::{Done, Place, data, names, perplexity, workspace};

/// The embedded model, a text, and what reads it.
const PIPELINE: &str = "\
version: 1
stages:
  dense: { use: source.model, with: { path: DATA/model } }
  text: { use: source.text, in: { model: dense }, with: { path: DATA/text/heldout.jsonl, separator: '', sequence_tokens: 256, TEXT } }
  stats: { use: calibrate.activations, in: { model: dense, tokens: text } }
  quality: { use: eval.perplexity, in: { models: dense, tokens: text }, with: { QUALITY } }
";

fn place(text: &str, quality: &str) -> Place {
    Place::of(&PIPELINE.replace("TEXT", text).replace("QUALITY", quality))
}

fn quality(place: &Place, more: &[&str]) -> (f64, Value) {
    place.run(&place.path("p.yaml"), &[&["quality"], more].concat());
    let shown = place.show(&place.path("p.yaml"), "quality", more);
    (perplexity(&shown, "dense"), shown["protocol"].clone())
}

/// Everything that a command said.
fn said(done: &Done) -> String {
    format!("{}\n{}", done.stdout, done.stderr)
}

/// As transformers 5.24 gives it on the text in windows of 128 tokens, BOS in front of each.
#[test]
fn every_window_begins_with_bos() {
    let place = place("bos: true", "window_tokens: 128");
    let (value, protocol) = quality(&place, &[]);
    assert!((value - 2.053_578).abs() < 1e-5, "{value}");
    assert_eq!((&protocol["bos"], &protocol["text"]), (&Value::from(true), &Value::from("heldout.jsonl")));
}

#[test]
fn different_windows_have_different_protocols_and_columns() {
    let place = place("sequences: 8, packing: packed", "window_tokens: 128");
    let text = fs::read_to_string(place.path("p.yaml")).expect("the pipeline");
    let random = "  random: { use: source.text, in: { model: dense }, with: { path: DATA/text/heldout.jsonl, separator: '', \
                  sequences: 8, sequence_tokens: 256 } }\n  other: { use: eval.perplexity, in: { models: dense, tokens: random }, \
                  with: { window_tokens: 128 } }\n  summary: { use: report.summary, in: { metrics: [quality, other] } }\n";
    place.write("p.yaml", &(text + &random.replace("DATA", &data())));
    place.run(&place.path("p.yaml"), &["summary"]);
    let protocol = |stage: &str| place.show(&place.path("p.yaml"), stage, &[])["protocol"].clone();
    assert_ne!(protocol("quality"), protocol("other"));
    assert_eq!((&protocol("other")["packing"], &protocol("other")["seed"]), (&"random".into(), &0.into()));
    let table = place.show(&place.path("p.yaml"), "summary", &[]);
    let columns = ["perplexity (heldout.jsonl) [1]", "perplexity (heldout.jsonl) [2]"];
    assert_eq!(table["columns"], Value::from(columns.to_vec()), "{table}");
    assert_eq!(table["rows"][0][1].as_array().expect("cells").iter().filter(|c| **c == "").count(), 0, "{table}");
}

#[test]
fn a_renamed_text_reruns_nothing_and_has_its_new_name() {
    let place = place("sequences: 4", "window_tokens: 128");
    let data = workspace().join("data/text/heldout.jsonl");
    for name in ["a.jsonl", "b.jsonl"] {
        fs::copy(&data, place.path(name)).expect("a copy");
    }
    let run = |name: &str| place.run(&place.path("p.yaml"), &["--set", &format!("text.with.path={name}")]);
    assert_eq!(names(&run("a.jsonl"), "executed"), ["dense", "quality", "stats", "text"]);
    assert!(names(&run("b.jsonl"), "executed").is_empty(), "nothing changed but a name");
    let (_, protocol) = quality(&place, &["--set", "text.with.path=b.jsonl"]);
    assert_eq!(protocol["text"], "b.jsonl");
}

#[test]
fn lengths_beyond_the_context_are_told_or_refused() {
    let place = place("packing: packed, sequences: 2", "");
    let set = ["--set", "text.with.sequence_tokens=2048"];
    let told = place.oops(&[&["run", "p.yaml", "quality"][..], &set].concat());
    assert!(told.code == 0 && said(&told).contains("windows of 1024"), "{}", said(&told));
    let (value, protocol) = quality(&place, &set);
    // As transformers 5.24 gives it on these tokens in windows of 1024.
    assert!(protocol["window_tokens"] == 1024 && (value - 7.728_746).abs() < 1e-4, "{value}");
    let wider =
        place.oops(&[&["run", "p.yaml", "quality", "--set", "quality.with.window_tokens=2048"][..], &set].concat());
    assert!(wider.code == 0 && said(&wider).contains("at most 1024"), "{}", said(&wider));
    let stories = fs::read_to_string(workspace().join("data/text/heldout.jsonl")).expect("stories");
    place.write("t.txt", &stories);
    let whole = "version: 1\nstages:\n  dense: { use: source.model, with: { path: DATA/model } }\n  text: { use: source.text, \
                 in: { model: dense }, with: { path: t.txt } }\n  stats: { use: calibrate.activations, in: { model: dense, \
                 tokens: text } }\n";
    place.write("w.yaml", &whole.replace("DATA", &data()));
    let refused = place.oops(&["run", "w.yaml"]);
    assert!(refused.code != 0 && said(&refused).contains("`sequence_tokens` of source.text"), "{}", said(&refused));
}

/// The embedded tokenizer with its last tokens the other way round: as large, and another.
#[test]
fn tokens_of_another_tokenizer_are_refused() {
    let place = place("sequences: 4", "window_tokens: 128");
    let model = workspace().join("data/model");
    fs::create_dir(place.path("other")).expect("a folder");
    for file in fs::read_dir(&model).expect("the model").flatten() {
        fs::copy(file.path(), place.path("other").join(file.file_name())).expect("a copy");
    }
    let path = place.path("other/tokenizer.json");
    let mut json: Value = serde_json::from_str(&fs::read_to_string(&path).expect("a tokenizer")).expect("JSON");
    for id in json["model"]["vocab"].as_object_mut().expect("a vocabulary").values_mut() {
        let n = id.as_u64().expect("an id");
        if n >= 300 {
            *id = Value::from(1323 - n);
        }
    }
    fs::write(&path, json.to_string()).expect("a tokenizer");
    let text = fs::read_to_string(place.path("p.yaml")).expect("the pipeline");
    place.write("p.yaml", &(text + "  judged: { use: source.model, with: { path: other } }\n"));
    let refused = place.oops(&["run", "p.yaml", "quality", "--set", "quality.in.models=judged"]);
    assert!(refused.code != 0 && said(&refused).contains("another tokenizer"), "{}", said(&refused));
}

/// Peak memory follows the tokens that are wanted, not the file: a text of 12 MB in one piece took 1.6 GB.
#[test]
fn a_long_text_takes_little_memory() {
    let place = place("sequences: 8", "");
    let stories = fs::read_to_string(workspace().join("data/text/calibration.jsonl")).expect("stories");
    place.write("long.txt", &stories.repeat(12_000_000 / stories.len()));
    let set = ["--set", "text.with.path=long.txt"];
    place.run(&place.path("p.yaml"), &[&["text"][..], &set].concat());
    let shown = place.show(&place.path("p.yaml"), "text", &set);
    let peak = shown["measured"]["peak_rss_bytes"].as_u64().expect("a measured peak");
    assert!(peak < 250_000_000, "{peak} bytes");
}
