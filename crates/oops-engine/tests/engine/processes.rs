//! Kills and neighbours: the engine in processes of its own.

use std::{
    fs,
    path::Path,
    process::{Child, Command},
    time::Duration,
};

use oops_engine::Selection;

use crate::fakes::{Bench, DIAMOND, SIGNALS};

const FOLDER: &str = "OOPS_TEST_FOLDER";

/// Not a test of its own: what the child processes run.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let there = Path::new(&folder);
    let registry = crate::fakes::registry();
    let mut graph = oops_pipeline::Graph::load(&there.join("p.yaml"), &[], &registry).unwrap();
    graph.check(&(0..graph.nodes.len()).collect()).unwrap();
    let store = oops_store::Store::open(there.join("store")).unwrap();
    let cancel = std::sync::atomic::AtomicBool::new(false);
    let session =
        oops_engine::Session { graph: &graph, store: &store, observer: &oops_engine::Silent, cancel: &cancel };
    let outcome = oops_engine::run(session, &Selection::default(), &[], oops_engine::Limits::default()).unwrap();
    assert!(outcome.failed.is_empty(), "{:?}", outcome.failed);
}

fn spawn(bench: &Bench) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "processes::child"])
        .env(FOLDER, bench.dir.path())
        .env(SIGNALS, bench.dir.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

fn parts(bench: &Bench) -> usize {
    fs::read_to_string(bench.path("slow.log")).map_or(0, |t| t.lines().count())
}

fn wait_for(condition: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(20), "waited in vain");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_killed_run_goes_on_where_it_was_and_gives_the_same_bytes() {
    let undisturbed = Bench::new(DIAMOND);
    let digest = undisturbed.digest();
    let bench = Bench::new(DIAMOND);
    fs::write(bench.path("stop"), "").unwrap();
    let mut run = spawn(&bench);
    wait_for(|| parts(&bench) == 4);
    run.kill().unwrap();
    run.wait().unwrap();
    fs::remove_file(bench.path("stop")).unwrap();
    assert!(spawn(&bench).wait().unwrap().success());
    assert_eq!(parts(&bench), 8, "the four finished parts were not made again");
    assert_eq!(bench.digest(), digest);
    assert_eq!(bench.store().verify().unwrap().1, []);
}

#[test]
fn kills_at_any_moment_lose_nothing() {
    let digest = Bench::new(DIAMOND).digest();
    let bench = Bench::new(DIAMOND);
    for k in 0..25 {
        let mut run = spawn(&bench);
        std::thread::sleep(Duration::from_millis(k * 3));
        run.kill().unwrap();
        run.wait().unwrap();
        assert_eq!(bench.store().verify().unwrap().1, [], "after kill {k}");
    }
    assert_eq!(bench.digest(), digest);
}

#[test]
fn two_processes_do_not_do_the_same_stage_twice() {
    let bench = Bench::new(DIAMOND);
    let mut runs: Vec<Child> = (0..3).map(|_| spawn(&bench)).collect();
    assert!(runs.iter_mut().all(|r| r.wait().unwrap().success()));
    assert_eq!(parts(&bench), 8);
    assert_eq!(bench.executed(&[]), [""; 0]);
}
