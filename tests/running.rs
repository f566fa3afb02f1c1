//! Running as a user sees it: several stages at a time, events, forecasts, explanations, and Ctrl-C.

mod support;

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use support::{Place, names};

/// Seconds of calibration, so that there is something to stop.
const PIPELINE: &str = "\
version: 1
stages:
  dense: { use: source.model, with: { path: DATA/model } }
  text: { use: source.text, in: { model: dense }, with: { path: DATA/text/calibration.jsonl, separator: '', sequences: 8, sequence_tokens: 64 } }
  stats: { use: calibrate.activations, in: { model: dense, tokens: text } }
  gradients: { use: calibrate.gradients, in: { model: dense, tokens: text } }
  scores: { use: score.flap, in: { model: dense, stats: stats } }
  size: { use: eval.size, in: { models: dense } }
";

fn place() -> Place {
    Place::of(PIPELINE)
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect()
}

/// Digest of every file in the store's blobs, which are named by them.
fn blobs(place: &Place) -> Vec<String> {
    let folders = fs::read_dir(place.path("store/blobs")).expect("blobs").flatten();
    let files = folders.flat_map(|f| fs::read_dir(f.path()).expect("a folder").flatten());
    let mut all: Vec<String> = files.map(|f| f.file_name().to_string_lossy().into_owned()).collect();
    all.sort();
    all
}

#[test]
fn jobs_change_neither_results_nor_lists_and_events_tell_everything() {
    let (one, many) = (place(), place());
    let alone = one.run(&one.path("p.yaml"), &[]);
    let args = ["run", "p.yaml", "--jobs", "4", "--heavy", "2", "--memory", "2GiB", "--events", "-"];
    let done = many.oops(&args);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert_eq!(blobs(&one), blobs(&many));
    let events = lines(&done.stdout);
    let of = |kind: &str| -> Vec<&str> {
        let mine = events.iter().filter(|e| e["event"] == kind);
        mine.map(|e| e["instance"].as_str().expect("an instance")).collect()
    };
    let (mut started, mut finished) = (of("started"), of("finished"));
    started.sort_unstable();
    finished.sort_unstable();
    assert_eq!(started, names(&alone, "executed"));
    assert_eq!(finished, started);
    let last = |name: &str| events.iter().rfind(|e| e["event"] == "progress" && e["instance"] == name);
    assert_eq!(
        last("stats").map(|e| (&e["done"], &e["total"], &e["unit"])),
        Some((&6.into(), &6.into(), &"blocks".into()))
    );
    let end = events.last().expect("an end");
    assert_eq!((&end["event"], &end["executed"]), (&"end".into(), &alone["executed"]));
    assert!(done.stderr.contains("6 executed"), "{}", done.stderr);
    let times: Vec<f64> = events.iter().filter_map(|e| e["t"].as_f64()).collect();
    assert!(times.len() == events.len() && times.is_sorted());
    // In a file, beside the summary of --json.
    let again = many.oops(&["run", "p.yaml", "--json", "--events", "e.jsonl"]);
    assert_eq!(again.stdout.lines().count(), 1, "{}", again.stdout);
    let again = lines(&fs::read_to_string(many.path("e.jsonl")).expect("events"));
    let count = |kind: &str| again.iter().filter(|e| e["event"] == kind).count();
    assert_eq!((count("cached"), count("warning"), count("end"), again.len()), (6, 1, 1, 8), "{again:?}");
    let wrong = many.oops(&["run", "p.yaml", "--events", "no/such/folder"]);
    assert!(wrong.code == 6 && wrong.stderr.contains("--events"), "{}", wrong.stderr);
}

#[test]
fn too_little_memory_puts_activations_on_disk_and_changes_no_result() {
    let half = ["--set", "stats.with.stream_dtype=bf16", "--set", "gradients.with.stream_dtype=bf16"];
    for set in [&[][..], &half] {
        let (roomy, narrow) = (place(), place());
        roomy.run(&roomy.path("p.yaml"), set);
        let done = narrow.oops(&[&["run", "p.yaml", "--memory", "1MiB"], set].concat());
        assert_eq!(done.code, 0, "{}", done.stderr);
        for stage in ["text", "stats", "gradients"] {
            let warning = format!("warning: {stage}: needs about ");
            assert_eq!(done.stderr.matches(&warning).count(), 1, "{}", done.stderr);
        }
        assert_eq!(blobs(&roomy), blobs(&narrow));
    }
}

#[test]
fn a_forecast_becomes_known_and_keep_going_leaves_what_depends_on_a_failure() {
    let place = place();
    let before = place.oops(&["run", "p.yaml", "--dry-run", "--json"]);
    let forecast = &lines(&before.stdout)[0]["forecast"];
    assert_eq!((&forecast[0]["instance"], &forecast[0]["seconds"]), (&"stats".into(), &Value::Null));
    assert!(forecast[0]["memory_bytes"].as_u64().is_some_and(|b| (1 << 20..1 << 28).contains(&b)), "{forecast}");
    place.run(&place.path("p.yaml"), &[]);
    let after = place.oops(&["run", "p.yaml", "--dry-run", "--json", "--set", "text.with.sequences=9"]);
    let seconds = lines(&after.stdout)[0]["forecast"][0]["seconds"].as_f64();
    assert!(after.code == 1 && seconds.is_some_and(|s| s > 0.0), "{}", after.stdout);

    let text = fs::read_to_string(place.path("p.yaml")).expect("the pipeline");
    place.write("p.yaml", &(text + "  broken: { use: source.text, in: { model: dense }, with: { path: broken.jsonl } }\n  judged: { use: eval.perplexity, in: { models: dense, tokens: broken } }\n"));
    place.write("broken.jsonl", "no JSON\n");
    let args = ["run", "p.yaml", "--keep-going", "--json", "--set", "size.in.models=[dense, dense]"];
    let done = place.oops(&args);
    let line = lines(&done.stdout).remove(0);
    assert_eq!(
        (done.code, &line["failed"], &line["not_run"]),
        (3, &serde_json::json!(["broken"]), &serde_json::json!(["judged"]))
    );
    assert_eq!(names(&line, "executed"), ["size"], "{line}");
    assert!(done.stderr.contains("1 not run"), "{}", done.stderr);
}

#[test]
fn status_explains_causes_and_results() {
    let place = place();
    place.run(&place.path("p.yaml"), &[]);
    let explain = |stage: &str, set: &str| place.oops(&["status", "p.yaml", "--explain", stage, "--set", set]);
    let stale = explain("scores", "text.with.sequences=9");
    let parts = [
        "input stats: stats, ",
        "still to be made",
        "stats (calibrate.activations) would run",
        "param sequences: 8 → 9",
    ];
    assert!(stale.code == 0 && parts.iter().all(|p| stale.stdout.contains(p)), "{}", stale.stdout);
    let stored = explain("stats", "text.with.sequences=8").stdout;
    let parts = ["is in the store", "key  ", "made  ", "UTC, as `stats`", "took  ", "measured  peak_rss_bytes: "];
    assert!(parts.iter().all(|p| stored.contains(p)), "{stored}");
    let wrong = explain("score", "text.with.sequences=8");
    assert!(wrong.code == 2 && wrong.stderr.contains("did you mean `scores`"), "{}", wrong.stderr);
}

/// Starts a run that takes long and returns once two stages are at work.
fn long_run(place: &Place) -> Child {
    let more = ["--set", "text.with.sequences=400", "--set", "text.with.sequence_tokens=256"];
    let args = [&["run", "p.yaml", "--jobs", "3", "--heavy", "2", "--events", "e.jsonl"][..], &more].concat();
    let run = place.command(&args).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("the binary starts");
    let start = Instant::now();
    let at_work = || {
        let text = fs::read_to_string(place.path("e.jsonl")).unwrap_or_default();
        ["stats", "gradients"].iter().all(|s| text.contains(&format!("\"instance\":\"{s}\"")))
    };
    while !at_work() {
        assert!(start.elapsed() < Duration::from_mins(1), "waited in vain");
        std::thread::sleep(Duration::from_millis(5));
    }
    run
}

fn signal(run: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &run.id().to_string()]).status().expect("kill").success());
}

#[test]
fn the_first_signal_stops_all_stages_and_says_how_to_go_on() {
    for name in ["-INT", "-TERM"] {
        let place = place();
        let run = long_run(&place);
        signal(&run, name);
        let done = run.wait_with_output().expect("an end");
        let stderr = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(130), "{stderr}");
        assert!(stderr.contains("stopping at the next step") && stderr.contains("run the same command"), "{stderr}");
        let events = lines(&fs::read_to_string(place.path("e.jsonl")).expect("events"));
        let mut stopped: Vec<&str> =
            events.iter().filter(|e| e["event"] == "failed").filter_map(|e| e["instance"].as_str()).collect();
        stopped.sort_unstable();
        assert_eq!(stopped, ["gradients", "stats"]);
        place.verified();
    }
}

#[test]
fn the_second_signal_stops_at_once_and_the_store_stays_whole() {
    let place = place();
    let run = long_run(&place);
    signal(&run, "-INT");
    signal(&run, "-INT");
    let done = run.wait_with_output().expect("an end");
    assert_eq!(done.status.code(), Some(130));
    place.verified();
    assert_eq!(place.oops(&["run", "p.yaml"]).code, 0);
}

#[test]
fn a_signal_stops_who_waits_for_another_process() {
    let place = place();
    let mut maker = long_run(&place);
    let args = [
        "run",
        "p.yaml",
        "--set",
        "text.with.sequences=400",
        "--set",
        "text.with.sequence_tokens=256",
        "--events",
        "w.jsonl",
    ];
    let waiter = place.command(&args).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("the binary starts");
    let start = Instant::now();
    while !fs::read_to_string(place.path("w.jsonl")).unwrap_or_default().contains("\"waiting\"") {
        assert!(start.elapsed() < Duration::from_mins(1), "waited in vain");
        std::thread::sleep(Duration::from_millis(5));
    }
    signal(&waiter, "-INT");
    let done = waiter.wait_with_output().expect("an end");
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(130), "{stderr}");
    assert!(maker.try_wait().expect("a state").is_none(), "the maker goes on");
    signal(&maker, "-INT");
    maker.wait().expect("an end");
    place.verified();
}
