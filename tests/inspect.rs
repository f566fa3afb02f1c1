//! The commands that look at what was recorded: log, table, diff, show, and plans as files.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use support::{Done, Place};

/// Everything from calibration to figures, on little text.
const PIPELINE: &str = "\
version: 1
stages:
  dense: { use: source.model, with: { path: DATA/model } }
  text: { use: source.text, in: { model: dense }, with: { path: DATA/text/calibration.jsonl, separator: '', sequences: 4, sequence_tokens: 32 } }
  stats: { use: calibrate.activations, in: { model: dense, tokens: text }, with: { gram: true } }
  gradients: { use: calibrate.gradients, in: { model: dense, tokens: text } }
  scores: { use: score.fisher, in: { model: dense, gradients: gradients } }
  plan: { use: select.global, in: { model: dense, scores: scores }, with: { remove_fraction: 0.3 } }
  pruned: { use: reconstruct.ridge, in: { model: dense, plan: plan, stats: stats } }
  quality: { use: eval.perplexity, in: { models: [dense, pruned], tokens: text }, with: { window_tokens: 32 } }
  size: { use: eval.size, in: { models: [dense, pruned] } }
  summary: { use: report.summary, in: { metrics: [quality, size] } }
";

fn place() -> (Place, PathBuf) {
    let place = Place::of(PIPELINE);
    let pipeline = place.path("p.yaml");
    (place, pipeline)
}

fn good(place: &Place, args: &[&str]) -> String {
    let done = place.oops(args);
    assert_eq!(done.code, 0, "{args:?}\n{}\n{}", done.stdout, done.stderr);
    done.stdout
}

fn json(place: &Place, args: &[&str]) -> Value {
    serde_json::from_str(good(place, args).lines().last().unwrap_or_default()).unwrap()
}

fn refused(done: &Done, code: i32, says: &str) {
    assert!(done.code == code && done.stderr.contains(says), "{} {}", done.code, done.stderr);
    assert!(done.stderr.contains("help: ") && !done.stderr.contains("panicked"), "{}", done.stderr);
}

#[test]
fn runs_are_listed_tabled_and_compared() {
    let (place, _) = place();
    refused(&place.oops(&["log"]), 3, "no run is written down");
    refused(&place.oops(&["table", "p.yaml"]), 3, "no run of p.yaml");
    good(&place, &["run", "p.yaml", "--quiet", "plan"]);
    good(&place, &["run", "p.yaml", "--quiet"]);
    good(&place, &["run", "p.yaml", "--quiet", "--set", "plan.with.remove_fraction=0.5"]);
    good(&place, &["run", "p.yaml", "--quiet", "--set", "plan.with.remove_fraction=0.5"]);

    let log = good(&place, &["log"]);
    assert_eq!(log.lines().count(), 4, "a run that did nothing new is no line: {log}");
    let newest = json(&place, &["log", "-n", "1", "--json"]);
    assert_eq!(newest["overrides"][0], "plan.with.remove_fraction=0.5");
    assert_eq!(newest["executed"].as_array().unwrap().len(), 5, "{newest}");
    let id = newest["run"].as_str().unwrap();
    assert!(log.lines().nth(1).unwrap().starts_with(id), "{log}");
    assert!(good(&place, &["show", id]).contains("select.global"));
    assert!(good(&place, &["show", &id[..5], "plan"]).contains("50.00 % of the decoder's weights asked for"));
    assert!(good(&place, &["show", "latest~1", "plan"]).contains("30.00 % of the decoder's weights asked for"));
    refused(&place.oops(&["show", "latest~9"]), 3, "there is no run `latest~9`");

    // The run of the plan alone is part of another row.
    let table = good(&place, &["table", "p.yaml", "--sort", "size.parameters"]);
    let header: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(header[..3], ["run", "plan.remove_fraction", "quality"], "{table}");
    assert!(table.lines().nth(1).unwrap().starts_with(id), "the smaller of two is first: {table}");
    assert!(table.contains("quality: perplexity, calibration.jsonl (random with seed 0), 4 windows"), "{table}");
    let rows = json(&place, &["table", "p.yaml", "--all-columns", "--json", "--filter", "plan.remove_fraction=0.5"]);
    assert_eq!((rows.as_array().unwrap().len(), &rows[0]["plan.use"]), (1, &"select.global".into()));
    let quality = place.show(&place.path("p.yaml"), "quality", &["--set", "plan.with.remove_fraction=0.5"]);
    assert_eq!(rows[0]["quality"], support::perplexity(&quality, "pruned"));
    refused(&place.oops(&["table", "p.yaml", "--sort", "qualty"]), 2, "did you mean `quality`?");
    refused(&place.oops(&["table", "p.yaml", "--filter", "quality"]), 2, "is no condition");
    let columns = good(&place, &["table", "p.yaml", "--csv", "--columns", "^quality$"]);
    assert_eq!(columns.lines().next(), Some("run,quality"));

    let diff = json(&place, &["diff", "latest~1", "latest", "--json"]);
    assert_eq!(diff["parameters"][0]["parameter"], "plan.remove_fraction");
    assert_eq!(diff["stages"][0]["because"], "param remove_fraction: 0.3 → 0.5");
    let last = diff["plan plan"].as_array().unwrap().last().unwrap();
    assert!(last["block"] == "all" && last["FFN shared"].as_f64().unwrap() < 1.0, "{last}");
    let figure = diff["figures"].as_array().unwrap().iter().find(|f| f["figure"] == "quality").unwrap();
    let of = |key: &str| figure[key].as_f64().unwrap();
    assert!(figure["new"] == rows[0]["quality"] && figure["difference"] == of("new") - of("old"), "{figure}");
    assert!((of("ratio") - of("new") / of("old")).abs() < 1e-12, "{figure}");
    let same = good(&place, &["diff", "latest", id]);
    assert!(same.contains("no parameter differs") && same.contains("every stage was made from the same"), "{same}");
}

#[test]
fn cells_of_a_sweep_are_rows() {
    let (place, _) = place();
    let sweep = "version: 1\npipeline: p.yaml\ncolumns: { a: { plan.with.remove_fraction: 0.2 }, b: { plan.with.remove_fraction: 0.4 } }\n\
                 rows: { plain: { set: { pruned.use: reconstruct.none } }, ridge: }\n";
    place.write("s.yaml", sweep);
    good(&place, &["sweep", "s.yaml", "--quiet", "--row", "ridge"]);
    let rows = json(&place, &["table", "s.yaml", "--json"]);
    let cells: Vec<_> = rows.as_array().unwrap().iter().map(|r| (&r["row"], &r["column"])).collect();
    assert_eq!(cells.len(), 4, "{rows}");
    assert!(rows[0]["not run"] == "pruned" && rows[0].get("quality").is_none(), "{rows}");
    let weights = |i: usize| rows[i]["size.decoder_parameters"].as_u64().unwrap();
    assert!(weights(3) < weights(2) && rows[2]["quality"].is_f64(), "{rows}");
}

#[test]
fn every_kind_of_artifact_is_shown() {
    let (place, pipeline) = place();
    good(&place, &["run", "p.yaml", "--quiet"]);
    for (stage, says) in [
        ("dense", "0–5"),
        ("text", "first sequences"),
        ("stats", "kurtosis median"),
        ("gradients", "ffn_channel"),
        ("scores", "protected"),
        ("plan", "weights kept"),
        ("pruned", "error, repaired"),
        ("quality", "perplexity"),
        ("size", "decoder_parameters"),
        ("summary", "| pruned"),
    ] {
        let text = good(&place, &["show", "p.yaml", stage]);
        assert!(text.contains(says), "{stage}: {text}");
        assert!(place.show(&pipeline, stage, &[]).is_object(), "{stage}");
    }
    let plan = place.show(&pipeline, "plan", &[]);
    assert_eq!(plan["tables"]["widths"].as_array().unwrap().len(), 6);
}

/// Publishes the plan of the pipeline; the pipeline that takes it instead of making one is `imported.yaml`.
fn published(place: &Place) -> PathBuf {
    good(place, &["run", "p.yaml", "--quiet"]);
    good(place, &["export-plan", "p.yaml", "plan", "--out", "published.json"]);
    let text = fs::read_to_string(place.path("p.yaml")).unwrap();
    let line = text.lines().find(|l| l.trim_start().starts_with("plan:")).unwrap();
    let makes = |l: &&str| !["scores:", "gradients:"].iter().any(|name| l.trim_start().starts_with(name));
    let needed = text.lines().filter(makes).collect::<Vec<_>>().join("\n");
    let imported = "  plan: { use: source.plan, in: { model: dense }, with: { path: published.json } }";
    place.write("imported.yaml", &needed.replace(line, imported))
}

fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    all.sort();
    all.iter().map(|p| (p.file_name().unwrap().into(), fs::read(p).unwrap())).collect()
}

#[test]
fn a_published_plan_cuts_as_the_original_does() {
    let (place, _) = place();
    let imported = published(&place);
    good(&place, &["show", "p.yaml", "pruned", "--out", "original"]);
    // In a store of its own, so that nothing is taken from the first one.
    let elsewhere = place.path("elsewhere");
    let elsewhere = elsewhere.to_str().unwrap();
    place.run(&imported, &["--cache", elsewhere]);
    good(&place, &["show", "imported.yaml", "pruned", "--out", "copy", "--cache", elsewhere]);
    assert_eq!(files(&place.path("original")), files(&place.path("copy")));
    // In the first store, the imported plan is the artifact that was exported, and nothing behind it runs.
    assert_eq!(support::names(&place.run(&imported, &[]), "executed"), ["plan"]);
    good(&place, &["export-plan", "imported.yaml", "plan", "--out", "again.json"]);
    let diff = good(&place, &["diff", "published.json", "again.json"]);
    assert!(diff.contains("the plans keep the same units") && diff.contains("source.plan"), "{diff}");
    refused(&place.oops(&["export-plan", "p.yaml", "scores"]), 2, "makes scores, not a plan");
}

#[test]
fn a_plan_that_cannot_be_applied_is_explained_before_anything_runs() {
    let (place, _) = place();
    published(&place);
    let text = fs::read_to_string(place.path("published.json")).unwrap();
    let first = text.split("\"ffn\":[").nth(1).unwrap().split(',').next().unwrap().to_owned();
    let cases = [
        (text[..text.len() / 2].to_owned(), "not a whole JSON file"),
        (text.replace("\"version\": 1", "\"version\": 9"), "version 9 of the plan format is not known"),
        (text.replace("oops.plan", "other"), "not a portable plan"),
        (
            text.replacen(&format!("\"ffn\":[{first},"), &format!("\"ffn\":[{first},{first},"), 1),
            "must hold ascending indices",
        ),
        (text.replacen(&format!("\"ffn\":[{first},"), "\"ffn\":[-1,", 1), "not a plan"),
        (text.replace("\"hidden\":192", "\"hidden\":96"), "`removed_params` is"),
    ];
    for (broken, says) in cases {
        assert_ne!(broken, text, "{says}");
        place.write("published.json", &broken);
        refused(&place.oops(&["run", "imported.yaml"]), 3, says);
    }
    // A plan of another model, whole: what differs is named.
    let other = text.replace("\"gated\":true", "\"gated\":false");
    let removed: u64 = text.split("\"removed_params\": ").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
    let done = place.oops(&["diff", place.write("other.json", &other).to_str().unwrap(), "published.json"]);
    refused(&done, 3, &format!("`removed_params` is {removed}"));
    place.verified();
}

#[test]
fn schemas_completions_and_stages_need_no_store() {
    let (place, _) = place();
    let schema: Value = serde_json::from_str(&good(&place, &["schema", "sweep"])).unwrap();
    assert_eq!(schema["title"], "oops sweep");
    for shell in ["bash", "zsh", "fish"] {
        assert!(good(&place, &["completions", shell]).contains("export-plan"), "{shell}");
    }
    let stages = json(&place, &["stages", "--json"]);
    assert!(stages.as_array().unwrap().iter().any(|s| s["name"] == "source.plan"), "{stages}");
    let qp = good(&place, &["stages", "select.qp"]);
    assert!(qp.contains("arXiv 2310.05175") && qp.contains("budgets.kv_keep_fraction: number"), "{qp}");
    for verb in [
        "run",
        "sweep",
        "status",
        "dag",
        "show",
        "log",
        "table",
        "diff",
        "export-plan",
        "schema",
        "completions",
        "stages",
    ] {
        assert!(good(&place, &[verb, "--help"]).contains("Examples:"), "{verb}");
    }
    assert!(!place.path("store").exists());
}
