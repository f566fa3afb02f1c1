//! `oops bench` as a user sees it, at the smallest sizes.

mod support;

use serde_json::Value;
use support::{Done, Place};

fn json(done: Done) -> Value {
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert_eq!(done.stdout.lines().count(), 1, "{}", done.stdout);
    serde_json::from_str(&done.stdout).expect("JSON")
}

fn number(report: &Value, name: &str) -> f64 {
    report[name].as_f64().unwrap_or_else(|| panic!("no number {name} in {report}"))
}

#[test]
fn kernels_report_their_share_of_what_the_machine_can_do() {
    let place = Place::new();
    let gram = json(place.oops(&["bench", "gram", "--channels", "96", "--rows", "64", "--runs", "3", "--json"]));
    assert_eq!((&gram["bench"], &gram["runs"], &gram["settings"]["channels"]), (&"gram".into(), &3.into(), &96.into()));
    let share = number(&gram, "gflops") / number(&gram, "gemm_ceiling_gflops");
    // Medians of quotients are not quotients of medians.
    assert!(share > 0.0 && number(&gram, "share_of_symmetric_rate") > 0.0);
    let [low, high] = [0, 1].map(|i| gram["spread"]["gflops"][i].as_f64().unwrap());
    assert!(low <= number(&gram, "gflops") && number(&gram, "gflops") <= high);
    for (stored, code) in [(1e-9, 0), (1e9, 1)] {
        let line = format!(
            "{{\"bench\":\"gram\",\"settings\":{{\"channels\":96,\"rows\":64}},\"vectors\":{},\"share_of_symmetric_rate\":{stored}}}",
            gram["vectors"]
        );
        place.write("stored.jsonl", &line);
        let done = place.oops(&[
            "bench",
            "gram",
            "--channels",
            "96",
            "--rows",
            "64",
            "--runs",
            "1",
            "--against",
            "stored.jsonl",
        ]);
        assert_eq!(
            (done.code, done.stderr.contains("regression: share_of_symmetric_rate")),
            (code, code == 1),
            "{}",
            done.stderr
        );
    }
    let solve = json(place.oops(&["bench", "solve", "--channels", "64", "--outputs", "8", "--runs", "1", "--json"]));
    assert_eq!(solve["settings"]["kept"], 52);
    let select = json(place.oops(&["bench", "select", "--units", "640", "--blocks", "4", "--runs", "1", "--json"]));
    assert!(number(&select, "iterations") > 0.0);
    let folder = place.path("").display().to_string();
    let publish = ["bench", "publish", "--folder", &folder, "--size", "1MiB", "--runs", "1", "--json"];
    assert!(number(&json(place.oops(&publish)), "gb_per_s") > 0.0);
    let table = place.oops(&["bench", "gram", "--channels", "8", "--rows", "8", "--runs", "1"]).stdout;
    assert!(
        table.starts_with("gram: channels 8, rows 8\n") && table.ends_with("median of 1 (smallest … largest)\n"),
        "{table}"
    );
}

#[test]
fn stages_run_on_a_model_that_was_made_here() {
    let place = Place::new();
    let made = place.oops(&["bench", "make-model", "--like", "smollm2-135m", "--blocks", "2", "model"]);
    assert_eq!((made.code, made.stdout.as_str()), (0, "made model\n"), "{}", made.stderr);
    let bench = |name: &str| {
        let small = ["--sequences", "20", "--sequence-tokens", "64", "--runs", "1", "--json"];
        json(place.oops(&[&["bench", name, "--model", "model"][..], &small].concat()))
    };
    for name in ["calibrate", "gradients", "evaluate", "distill"] {
        let report = bench(name);
        for figure in ["seconds", "tokens_per_s", "gemm_ceiling_gflops", "share_of_gemm_ceiling", "peak_rss_bytes"] {
            assert!(number(&report, figure) > 0.0, "{name}: {figure}");
        }
    }
    for (name, stages) in
        [("prune", ["stats", "flap", "global", "repaired"]), ("oops", ["stats", "scores", "plan", "pruned"])]
    {
        let report = bench(name);
        let sum: f64 = stages.iter().map(|stage| number(&report, &format!("{stage}.seconds"))).sum();
        assert!(sum > 0.0 && sum <= number(&report, "seconds") + 1e-9, "{report}");
    }
    let read = json(place.oops(&["bench", "read", "model", "--runs", "1", "--json"]));
    assert!(number(&read, "weights_per_s") > 0.0);
    let decode =
        ["bench", "decode", "--model", "model", "--prompt-tokens", "9", "--tokens", "3", "--runs", "1", "--json"];
    let decode = json(place.oops(&decode));
    for figure in ["tokens_per_s", "read_ceiling_gb_per_s", "share_of_read_ceiling"] {
        assert!(number(&decode, figure) > 0.0, "{decode}");
    }
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let place = Place::new();
    place.write("full/file", "something");
    for (args, code, says) in [
        (&["bench", "make-model", "--like", "smollm2-135m", "full"][..], 2, "the folder is not empty"),
        (&["bench", "make-model", "--like", "gpt-5", "new"], 2, "possible values"),
        (&["bench", "solve", "--channels", "4", "--kept", "5"], 2, "`--kept` must not exceed"),
        (&["bench", "select", "--units", "4", "--blocks", "5"], 2, "`--blocks` must not exceed"),
        (&["bench", "calibrate", "--model", "nowhere", "--runs", "1"], 3, "nowhere"),
        (
            &["bench", "gram", "--runs", "1", "--channels", "8", "--rows", "8", "--against", "full/file"],
            3,
            "no report of this benchmark",
        ),
        (&["bench", "publish", "--folder", "nowhere", "--runs", "1"], 6, "nowhere"),
    ] {
        let done = place.oops(args);
        assert_eq!(done.code, code, "{args:?}: {}", done.stderr);
        assert!(done.stderr.contains(says), "{args:?}: {}", done.stderr);
    }
}
