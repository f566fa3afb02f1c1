//! Warnings as a user sees them: in every form of output, once, and as errors.

mod support;

use serde_json::json;
use support::{Place, workspace};

/// The plan can remove nothing of what it is asked for.
const PIPELINE: &str = "\
version: 1
stages:
  dense: { use: source.model, with: { path: DATA/model } }
  heldout: { use: source.text, in: { model: dense }, with: { path: DATA/text/heldout.jsonl, separator: '', sequences: 4, sequence_tokens: 32 } }
  scores: { use: score.magnitude, in: { model: dense } }
  plan:
    use: select.uniform
    in: { model: dense, scores: scores }
    with: { remove_fraction: 0.35, targets: [hf], channel_multiple: 256, min_attention: 4, allow_miss: true }
  pruned: { use: reconstruct.none, in: { model: dense, plan: plan } }
  quality: { use: eval.perplexity, in: { models: pruned, tokens: heldout }, with: { window_tokens: 32 } }
  summary: { use: report.summary, in: { metrics: [quality] } }
";

const SWEEP: &str = "\
version: 1
pipeline: p.yaml
judge: pruned
rows:
  missed:
  met: { set: { plan.with.remove_fraction: 0.3636364 } }
";

const MESSAGE: &str = "`remove_fraction` asks for 35.00 % of the decoder's linear weights, but 0.00 % go: nearest fractions that \
                       can be reached: 0 and 0.3636364";

fn place() -> Place {
    let place = Place::of(PIPELINE);
    place.write("s.yaml", SWEEP);
    place
}

#[test]
fn a_warning_is_told_before_work_and_again_at_every_hit() {
    let place = place();
    let told = format!("warning: plan: {MESSAGE}\n");
    let ahead = place.oops(&["run", "p.yaml", "--dry-run", "--quiet", "--json"]);
    assert_eq!((ahead.code, &ahead.stderr), (1, &told));
    let listed = json!([{ "stage": "plan", "message": MESSAGE }]);
    assert_eq!(ahead.json()["warnings"], listed);
    for _ in 0..2 {
        let run = place.oops(&["run", "p.yaml", "--quiet"]);
        assert_eq!((run.code, &run.stderr), (0, &told), "once, also of a result that is in the store");
        insta::assert_snapshot!("report", run.stdout);
    }
    let status = place.oops(&["status", "p.yaml"]).stdout;
    assert!(status.lines().any(|l| l.starts_with("plan ") && l.ends_with("· 1 warning")), "{status}");
    assert!(status.ends_with(&told), "{status}");
    insta::assert_snapshot!("plan", place.oops(&["show", "p.yaml", "plan"]).stdout);
    for stage in ["plan", "pruned", "quality", "summary"] {
        assert_eq!(place.show(&place.path("p.yaml"), stage, &[])["warnings"], listed, "{stage}");
    }
    assert_eq!(place.show(&place.path("p.yaml"), "scores", &[])["warnings"], json!([]));
    let log = place.oops(&["log", "--json"]).json();
    assert_eq!(log["warnings"], listed);
    assert!(place.oops(&["show", "latest"]).stdout.contains(&told));
    let table = place.oops(&["table", "p.yaml"]).stdout;
    assert!(table.contains("  [1]\n") && table.contains(&format!("[1] warning: plan: {MESSAGE}")), "{table}");
    assert_eq!(place.oops(&["table", "p.yaml", "--json"]).json()[0]["warnings"], json!([format!("plan: {MESSAGE}")]));
}

#[test]
fn a_sweep_marks_the_cells_that_have_warnings() {
    let place = place();
    let done = place.oops(&["sweep", "s.yaml", "--json", "--csv", "s.csv"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(done.stderr.contains(&format!("warning: [missed] plan: {MESSAGE}\n")), "{}", done.stderr);
    let cells = done.json()["sweeps"][0]["cells"].clone();
    assert_eq!(cells[0]["warnings"], json!([{ "stage": "plan", "message": MESSAGE }]));
    assert_eq!(cells[1]["warnings"], json!([]));
    assert!(cells[1]["removed_fraction"].as_f64().is_some_and(|f| (f - 0.363_6).abs() < 1e-3), "{cells}");
    let table: Vec<&str> = done.stderr.lines().filter(|l| l.starts_with("| m")).collect();
    assert!(table[1].starts_with("| missed ") && table[1].contains(" [1] "), "{table:?}");
    assert!(table[2].starts_with("| met ") && !table[2].contains('['), "{table:?}");
    assert!(table[1].contains("100.0 %") && table[2].contains("63.6 %"), "what was removed: {table:?}");
    assert!(done.stderr.contains(&format!("[1] warning: plan: {MESSAGE}")), "{}", done.stderr);
    let csv = std::fs::read_to_string(place.path("s.csv")).expect("written");
    assert!(csv.lines().next().is_some_and(|l| l.ends_with(",error,warnings")), "{csv}");
    assert!(csv.lines().nth(1).is_some_and(|l| l.ends_with(&format!(",\"plan: {MESSAGE}\""))), "{csv}");
}

#[test]
fn warnings_are_errors_where_the_user_says_so() {
    let place = place();
    for args in [
        &["run", "p.yaml", "--strict"][..],
        &["run", "p.yaml", "--strict", "--dry-run"],
        &["sweep", "s.yaml", "--strict"],
    ] {
        let done = place.oops(args);
        assert_eq!(done.code, 2, "{args:?}: {}", done.stderr);
        assert!(done.stderr.contains("but 0.00 % go") && done.stderr.contains("--strict"), "{}", done.stderr);
        assert!(!place.path("store").exists(), "nothing runs");
    }
    let set = ["run", "p.yaml", "plan", "--strict", "--set", "plan.with.remove_fraction=0.3636364"];
    assert_eq!(place.oops(&set).code, 0);
    let refused = place.oops(&["run", "p.yaml", "--set", "plan.with.allow_miss=false"]);
    assert!(refused.code == 2 && refused.stderr.contains("0 and 0.3636364"), "{}", refused.stderr);
}

#[test]
fn values_on_the_command_line_are_kept_as_typed() {
    let place = place();
    let text = std::fs::read_to_string(workspace().join("data/text/heldout.jsonl")).expect("a text");
    let path = place.write("[draft] a #1.jsonl", &text);
    let set = format!("heldout.with.path={}", path.display());
    assert_eq!(place.oops(&["run", "p.yaml", "heldout", "--set", &set]).code, 0);
    let nan = place.oops(&["run", "p.yaml", "--set", "plan.with.remove_fraction=.nan"]);
    assert!(nan.code == 2 && nan.stderr.contains(".nan, which is not a finite number"), "{}", nan.stderr);
    let big = place.oops(&["run", "p.yaml", "--set", "plan.with.remove_fraction=9007199254740993"]);
    assert!(big.code == 2 && big.stderr.contains("9007199254740993 would be rounded"), "{}", big.stderr);
    let marked = std::fs::read_to_string(place.path("p.yaml")).expect("the pipeline");
    place.write("marked.yaml", &format!("\u{feff}{marked}"));
    assert_eq!(place.oops(&["status", "marked.yaml"]).code, 0);
}
