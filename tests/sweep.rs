//! Sweeps over the embedded model: every ablation file, resuming, failing cells, the forms of a table.

mod support;

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    process::Stdio,
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::Value;
use support::{Place, workspace};

/// A pipeline without calibration: milliseconds per cell.
const PIPELINE: &str = "\
version: 1
defaults: { seed: 17 }
stages:
  dense: { use: source.model, with: { path: DATA/model } }
  heldout: { use: source.text, in: { model: dense }, with: { path: DATA/text/heldout.jsonl, separator: '', sequences: 4, sequence_tokens: 32 } }
  scores: { use: score.magnitude, in: { model: dense } }
  plan: { use: select.uniform, in: { model: dense, scores: scores }, with: { remove_fraction: 0.3 } }
  pruned: { use: reconstruct.none, in: { model: dense, plan: plan } }
  quality: { use: eval.perplexity, in: { models: pruned, tokens: heldout }, with: { window_tokens: 32 } }
  dense_quality: { use: eval.perplexity, in: { models: dense, tokens: heldout }, with: { window_tokens: 32 } }
  size: { use: eval.size, in: { models: [dense, pruned] } }
  summary: { use: report.summary, in: { metrics: [dense_quality, quality, size] } }
";

const SWEEP: &str = "\
version: 1
about: Two scores at two fractions.
pipeline: p.yaml
columns:
  30 %: { plan.with.remove_fraction: 0.3 }
  50 %: { plan.with.remove_fraction: 0.5 }
rows:
  magnitude:
  random | uniform: { set: { scores.use: score.random } }
";

fn place() -> Place {
    let place = Place::of(PIPELINE);
    place.write("s.yaml", SWEEP);
    place
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// Perplexity of every cell by name.
fn figures(result: &Value) -> Vec<String> {
    let cells = list(result, "sweeps").iter().flat_map(|s| list(s, "cells"));
    cells.map(|c| format!("{} {} {} {}", c["row"], c["column"], c["seed"], c["perplexities"])).collect()
}

#[test]
fn a_sweep_runs_every_stage_once_and_then_nothing() {
    let place = place();
    let forecast = place.oops(&["sweep", "s.yaml", "--dry-run", "--json"]);
    assert_eq!(forecast.code, 1, "{}", forecast.stderr);
    let first = place.oops(&["sweep", "s.yaml", "--json"]);
    assert_eq!(first.code, 0, "{}", first.stderr);
    let first = first.json();
    // dense, its text and its perplexity; two scores; per cell a plan, a model, its perplexity and its size.
    assert_eq!(list(&first, "executed").len(), 3 + 2 + 4 * 4, "{first}");
    assert_eq!(list(&forecast.json(), "would_run").len(), 21);
    let again = place.oops(&["sweep", "s.yaml", "--json"]).json();
    assert_eq!((list(&again, "executed").len(), &again["cached"]), (0, &Value::from(21)));
    assert_eq!(figures(&again), figures(&first));
    assert_eq!(place.oops(&["sweep", "s.yaml", "--dry-run"]).code, 0);
    let reports: Vec<_> = list(&first, "executed").iter().filter(|e| e.to_string().contains("summary")).collect();
    assert!(reports.is_empty(), "only what fills the table runs");
    place.verified();
}

/// A text without what differs from machine to machine and run to run.
fn settled(text: &str) -> String {
    let line = |line: &str| match line {
        l if l.starts_with("- machine:") => "- machine: …".to_owned(),
        l if l.starts_with("| ") && !l.contains("method") && !l.contains("seconds") => {
            let cells: Vec<&str> = l.split(" | ").map(str::trim).collect();
            cells[..cells.len() - 1].join(" | ")
        }
        l => l.to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn tables_have_the_documented_forms() {
    let place = place();
    let seeds =
        "version: 1\npipeline: p.yaml\nrows: { random: { set: { scores.use: score.random } } }\nseeds: [1, 2, 3]\n";
    place.write("t.yaml", seeds);
    let args = ["sweep", "s.yaml", "t.yaml", "--markdown", "out/r.md", "--csv", "out/r.csv", "--quiet"];
    let done = place.oops(&args);
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    let markdown = fs::read_to_string(place.path("out/r.md")).expect("written");
    let main: String = markdown.split("| seconds per model").next().unwrap_or_default().to_owned();
    insta::assert_snapshot!("markdown", settled(&main));
    assert_eq!(markdown.matches("\n## ").count(), 2, "one section per file");
    assert!(markdown.contains("- seeds: 1, 2, 3: median (least–greatest)"), "{markdown}");
    for table in markdown.lines().filter(|l| l.starts_with('|')).take(5) {
        assert!(done.stdout.contains(table), "the terminal shows the same table");
    }
    let csv = fs::read_to_string(place.path("out/r.csv")).expect("written");
    let lines: Vec<&str> = csv.lines().collect();
    assert!(
        lines[0].starts_with("sweep,row,column,seed,perplexity quality,dense perplexity quality,parameters,"),
        "{csv}"
    );
    assert_eq!(lines.len(), 1 + 4 + 3);
    assert!(lines[1].starts_with("s,magnitude,30 %,,") && lines[5].starts_with("t,random,,1,"), "{csv}");
}

#[test]
fn a_failing_cell_stops_a_sweep_or_stands_in_its_table() {
    let place = place();
    place.write("broken.jsonl", "no JSON\n");
    let broken = place.path("broken.jsonl");
    let row = format!("  broken: {{ set: {{ heldout.with.path: {} }} }}\n", broken.display());
    place.write("s.yaml", &SWEEP.replace("  random", &format!("{row}  random")));
    let stopped = place.oops(&["sweep", "s.yaml"]);
    assert_eq!(stopped.code, 3, "{}", stopped.stdout);
    assert!(
        stopped.stderr.contains("cell `broken, 30 %`") && stopped.stderr.contains("--keep-going"),
        "{}",
        stopped.stderr
    );
    assert!(!stopped.stdout.contains("random | uniform, 30 %"), "nothing runs behind a failure: {}", stopped.stdout);
    let done = place.oops(&["sweep", "s.yaml", "--keep-going", "--markdown", "r.md"]);
    assert_eq!(done.code, 3);
    assert!(done.stdout.contains("2 failed"), "{}", done.stdout);
    let text = fs::read_to_string(place.path("r.md")).expect("written");
    let row = |name: &str| text.lines().find(|l| l.starts_with(&format!("| {name}"))).expect("its row").to_owned();
    assert_eq!(row("broken").matches("failed").count(), 2, "{text}");
    assert!(!row("random").contains("failed"));
    assert!(text.contains("broken, 30 % failed: "), "{text}");
    let only = place.oops(&["sweep", "s.yaml", "--row", "magnitude", "--json"]);
    assert_eq!((only.code, figures(&only.json()).len()), (0, 2));
    let wrong = place.oops(&["sweep", "s.yaml", "--row", "magnitud"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("did you mean `magnitude`"), "{}", wrong.stderr);
    place.verified();
}

/// Records in the store.
fn records(place: &Place) -> usize {
    fs::read_dir(place.path("store/actions")).map_or(0, Iterator::count)
}

#[test]
fn a_killed_sweep_goes_on_and_ends_in_the_same_figures() {
    let whole = place();
    let expected = figures(&whole.oops(&["sweep", "s.yaml", "--json"]).json());
    let place = place();
    for enough in [4, 11] {
        let mut sweep = place.command(&["sweep", "s.yaml"]);
        let mut sweep = sweep.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts");
        let start = Instant::now();
        while records(&place) < enough && start.elapsed() < Duration::from_mins(1) {
            sleep(Duration::from_millis(1));
        }
        sweep.kill().expect("SIGKILL");
        sweep.wait().expect("a status");
        place.verified();
    }
    let (before, done) = (records(&place), place.oops(&["sweep", "s.yaml", "--json"]));
    let result = done.json();
    assert!((11..21).contains(&before), "killed in the middle: {before}");
    assert_eq!(list(&result, "executed").len(), 21 - before, "finished stages are kept");
    assert_eq!(figures(&result), expected);
}

#[test]
fn flags_with_several_values_are_a_sweep() {
    let place = place();
    let flags = ["--set", "plan.with.remove_fraction=0.2,0.5", "--set", "scores.use=score.magnitude,score.random"];
    let done = place.oops(&[&["sweep", "p.yaml"][..], &flags].concat());
    assert_eq!(done.code, 0, "{}", done.stderr);
    for row in [
        "plan.with.remove_fraction=0.2, scores.use=score.magnitude",
        "plan.with.remove_fraction=0.5, scores.use=score.random",
    ] {
        assert!(done.stdout.contains(&format!("| {row}")), "{}", done.stdout);
    }
}

/// The ablation files on the embedded model, little of everything, all columns alike.
const EMBEDDED: &[&str] = &[
    "dense.with.path=../data/model",
    "text.with.path=../data/text/calibration.jsonl",
    "text.with.sequences=4",
    "text.with.sequence_tokens=32",
    "books.with.path=../data/text/calibration.jsonl",
    "books.with.sequences=4",
    "books.with.sequence_tokens=32",
    "train.with.path=../data/text/calibration.jsonl",
    "train.with.sequences=60",
    "train.with.sequence_tokens=32",
    "heldout.with.path=../data/text/heldout.jsonl",
    "tales.with.path=../data/text/heldout.jsonl",
    "plays.with.path=../data/text/calibration.jsonl",
    "quality.with.max_windows=1",
    "stories.with.max_windows=1",
    "shakespeare.with.max_windows=1",
    "dense_quality.with.max_windows=1",
    "dense_stories.with.max_windows=1",
    "dense_shakespeare.with.max_windows=1",
    "plan.with.remove_fraction=0.3",
];

/// How many texts the `figures` of a sweep file measure the judged model on.
fn judged_texts(sweep: &str) -> Option<usize> {
    let line = sweep.lines().find_map(|l| l.strip_prefix("figures: ["))?;
    let names = line.trim_end_matches(']').split(", ");
    Some(names.filter(|n| !n.starts_with("dense_") && *n != "size").count())
}

#[test]
fn every_ablation_runs_on_the_embedded_model() {
    let place = Place::new();
    let folder = workspace().join("pipelines/ablations");
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).expect("the folder").map(|e| e.expect("an entry").path()).collect();
    files.sort();
    assert!(files.len() >= 5);
    let mut args: Vec<&str> = vec!["sweep", "--json"];
    args.extend(files.iter().map(|f| f.to_str().expect("a plain path")));
    args.extend(EMBEDDED.iter().flat_map(|set| ["--set", set]));
    let done = place.oops(&args);
    assert_eq!(done.code, 0, "{}", done.stderr);
    let result = done.json();
    for (sweep, file) in list(&result, "sweeps").iter().zip(&files) {
        let text = fs::read_to_string(file).expect("the file");
        let rows: BTreeSet<String> =
            list(sweep, "rows").iter().map(|r| r.as_str().unwrap_or_default().to_owned()).collect();
        assert!(!rows.is_empty() && rows.iter().all(|r| text.contains(r.as_str())), "{rows:?}");
        let cells = list(sweep, "cells");
        assert!(cells.len() >= rows.len(), "a cell for every row");
        let texts = judged_texts(&text).unwrap_or(if file.ends_with("embedded.yaml") { 1 } else { 3 });
        let rows_with_figures =
            cells.iter().filter(|c| list(c, "perplexities").iter().filter(|p| p["model"].is_f64()).count() == texts);
        let filled: BTreeSet<String> =
            rows_with_figures.map(|c| c["row"].as_str().unwrap_or_default().to_owned()).collect();
        assert_eq!(filled, rows, "every row is judged on every text");
        assert!(sweep["about"].is_string());
    }
    let again = place.oops(&args).json();
    assert_eq!(list(&again, "executed").len(), 0, "{}", again["executed"]);
    assert_eq!(figures(&again), figures(&result));
}
