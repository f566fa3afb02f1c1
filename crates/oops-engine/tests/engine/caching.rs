//! What runs again, and what does not.

use crate::fakes::{Bench, DIAMOND, files};

#[test]
fn a_second_run_executes_nothing() {
    let bench = Bench::new(DIAMOND);
    assert_eq!(bench.executed(&[]), ["a", "b", "c", "d", "e"]);
    assert!(bench.heard().iter().all(|line| line.ends_with(": new")));
    assert_eq!(bench.executed(&[]), [""; 0]);
    assert!(files(&bench.path("store/scratch")).is_empty(), "work folders are gone");
    assert!(files(&bench.path("store/tmp")).is_empty() && files(&bench.path("store/locks")).is_empty());
}

#[test]
fn a_parameter_reruns_its_stage_and_what_follows_and_says_why() {
    let bench = Bench::new(DIAMOND);
    bench.executed(&[]);
    bench.heard();
    assert_eq!(bench.executed(&["b.with.plus=5"]), ["b", "d", "e"]);
    assert_eq!(bench.heard(), ["b: param plus: 1 → 5", "d: input numbers changed", "e: input number changed"]);
    assert_eq!(bench.executed(&[]), [""; 0], "the old results are still there");
}

#[test]
fn equal_bytes_stop_the_wave() {
    let bench = Bench::new(DIAMOND);
    bench.executed(&[]);
    // (40 + 2) / 10 = (40 + 3) / 10
    assert_eq!(bench.executed(&["c.with.plus=3"]), ["c"]);
}

#[test]
fn a_default_that_is_written_out_changes_nothing() {
    let bench = Bench::new(DIAMOND);
    bench.executed(&[]);
    assert_eq!(bench.executed(&["b.with.divide=1"]), [""; 0]);
}

#[test]
fn renaming_and_reordering_rerun_nothing() {
    let bench = Bench::new(DIAMOND);
    bench.executed(&[]);
    bench.pipeline(
        "
version: 1
about: the same in other words
stages:
  last: { use: test.slow, in: { number: sum } }
  sum: { use: test.add, in: { numbers: [left, right] } }
  right: { use: test.add, with: { divide: 10, plus: 2 }, in: { numbers: [source] } }
  left: { use: test.add, in: { numbers: source }, with: { plus: 1 } }
  source: { use: test.read, with: { path: ./number.txt } }
",
    );
    assert_eq!(bench.executed(&[]), [""; 0]);
}

#[test]
fn order_of_inputs_seed_and_device_count_only_where_they_matter() {
    let bench = Bench::new(DIAMOND);
    bench.executed(&[]);
    assert_eq!(bench.executed(&["defaults.seed=7"]), ["e"], "only e is seeded");
    assert_eq!(bench.executed(&["defaults.device=cuda"]), ["e"], "only e computes on a device");
    assert_eq!(bench.executed(&["defaults.device=cpu"]), [""; 0]);
    assert_eq!(bench.executed(&["d.in.numbers=[c, b]"]), ["d"], "an ordered port has another key but the same bytes");
}

#[test]
fn a_file_outside_counts_by_content() {
    let bench = Bench::new(DIAMOND);
    bench.executed(&[]);
    bench.number(40);
    assert_eq!(bench.executed(&[]), [""; 0], "rewritten with the same content");
    std::fs::rename(bench.path("number.txt"), bench.path("moved.txt")).unwrap();
    assert_eq!(bench.executed(&["a.with.path=moved.txt"]), [""; 0], "moved");
    bench.number(50);
    assert_eq!(bench.executed(&[]), ["a", "b", "c", "d", "e"]);
    assert_eq!(bench.heard().iter().filter(|l| l.contains("file number.txt changed")).count(), 1);
}

#[test]
fn a_failure_keeps_what_was_finished_and_names_the_instance() {
    let bench = Bench::new(DIAMOND);
    for (plus, class, says) in [(-99, 4, "a negative sum"), (-27, 70, "unlucky")] {
        let mut outcome = bench.select(&[&format!("b.with.plus={plus}")], &oops_engine::Selection::default()).unwrap();
        let (name, fault) = outcome.failed.remove(0);
        assert_eq!((name.as_str(), fault.class().exit_code()), ("b", class));
        assert!(fault.to_string().contains(says) && fault.to_string().contains("stage `b`"), "{fault}");
    }
    assert_eq!(bench.executed(&[]), ["b", "c", "d", "e"], "a was kept");
}
