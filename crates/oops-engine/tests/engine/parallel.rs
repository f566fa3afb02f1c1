//! Stages side by side: the same results and the same lists as one after another; limits; failures; stopping.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use oops_engine::{Event, Job, Limits, Observer, Outcome, Selection, Session, run_all};
use oops_pipeline::Graph;
use oops_stage::{NoProgress, Progress};

use crate::fakes::{Bench, DIAMOND, registry};

/// Counts stages that run at the same time, and how often each started.
#[derive(Default)]
struct Watch(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    now: Vec<String>,
    most: usize,
    most_heavy: usize,
    starts: BTreeMap<String, usize>,
    warnings: Vec<String>,
}

impl Observer for Watch {
    fn event(&self, event: &Event<'_>) {
        let mut seen = self.0.lock().unwrap();
        match event {
            Event::Started { instance, .. } => {
                seen.now.push((*instance).to_owned());
                *seen.starts.entry((*instance).to_owned()).or_default() += 1;
                seen.most = seen.most.max(seen.now.len());
                let heavy = seen.now.iter().filter(|name| name.starts_with("heavy")).count();
                seen.most_heavy = seen.most_heavy.max(heavy);
            }
            Event::Finished { instance, .. } | Event::Failed { instance, .. } => seen.now.retain(|n| n != instance),
            Event::Warning { message, .. } => seen.warnings.push((*message).to_owned()),
            _ => {}
        }
    }

    fn progress<'o>(&'o self, _: &str) -> Box<dyn Progress + 'o> {
        Box::new(NoProgress)
    }
}

/// Two heavy stages and four light ones, all slow, none depending on another.
const WIDE: &str = "
version: 1
stages:
  a: { use: test.read, with: { path: number.txt } }
  heavy1: { use: test.slow, in: { number: a }, with: { files: 20, heavy: true, memory: 60 } }
  heavy2: { use: test.slow, in: { number: a }, with: { files: 21, heavy: true, memory: 60 } }
  light1: { use: test.slow, in: { number: a }, with: { files: 22, memory: 30 } }
  light2: { use: test.slow, in: { number: a }, with: { files: 23, memory: 30 } }
";

fn walks(bench: &Bench, watch: &Watch, all: &[&[&str]], limits: Limits) -> Vec<Outcome> {
    let registry = registry();
    let graph = |overrides: &&[&str]| {
        let overrides: Vec<String> = overrides.iter().map(|&o| o.to_owned()).collect();
        let mut graph = Graph::load(&bench.path("p.yaml"), &overrides, &registry).unwrap();
        graph.check(&(0..graph.nodes.len()).collect()).unwrap();
        graph
    };
    let graphs: Vec<Graph<'_>> = all.iter().map(graph).collect();
    let (store, cancel) = (bench.store(), AtomicBool::new(false));
    let jobs = graphs.iter().map(|graph| Job {
        session: Session { graph, store: &store, observer: watch, cancel: &cancel },
        selection: Selection::default(),
        overrides: Vec::new(),
    });
    let (jobs, mut ended) = (jobs.collect::<Vec<_>>(), Vec::new());
    let end = &mut |i: usize, outcome: Outcome| {
        assert_eq!(i, ended.len(), "walks end in order");
        ended.push(outcome);
        Ok(())
    };
    run_all(&jobs, limits, &mut |_| (), end).unwrap();
    ended
}

#[test]
fn limits_hold_and_light_stages_run_beside_a_heavy_one() {
    let run = |limits| {
        let (bench, watch) = (Bench::new(WIDE), Watch::default());
        assert_eq!(walks(&bench, &watch, &[&[]], limits)[0].executed.len(), 5);
        watch.0.into_inner().unwrap()
    };
    let all = Limits { jobs: 8, heavy: 8, ..Limits::default() };
    assert_eq!(run(all).most, 4);
    let one_heavy = run(Limits { heavy: 1, ..all });
    assert_eq!((one_heavy.most, one_heavy.most_heavy), (3, 1));
    assert_eq!(run(Limits { jobs: 2, ..all }).most, 2);
    // 60 + 30, then what is left of 60 + 30 or 30 + 30.
    let memory = run(Limits { memory: Some(100), ..all });
    assert_eq!((memory.most, memory.most_heavy, memory.warnings.len()), (2, 1, 0));
    let narrow = run(Limits { memory: Some(40), ..all });
    assert_eq!(narrow.most, 1, "what needs more than all runs alone");
    assert_eq!(narrow.warnings.iter().filter(|w| w.contains("of memory")).count(), 2, "{:?}", narrow.warnings);
}

#[test]
fn a_prefix_that_cells_reach_together_runs_once_and_counts_for_the_first() {
    let bench = Bench::new(DIAMOND);
    let cells: [&[&str]; 4] = [&[], &["c.with.plus=40"], &["c.with.plus=80"], &[]];
    let watch = Watch::default();
    let lists = |outcomes: &[Outcome]| -> Vec<(Vec<String>, Vec<String>)> {
        outcomes.iter().map(|o| (o.executed.clone(), o.cached.clone())).collect()
    };
    let together = walks(&bench, &watch, &cells, Limits { jobs: 8, ..Limits::default() });
    let starts = watch.0.into_inner().unwrap().starts;
    assert_eq!((starts["a"], starts["b"], starts["c"], starts["e"]), (1, 1, 3, 3), "{starts:?}");
    let one = Bench::new(DIAMOND);
    let alone = walks(&one, &Watch::default(), &cells, Limits::default());
    assert_eq!(lists(&together), lists(&alone));
    for (a, b) in together.iter().zip(&alone) {
        let digests = |o: &Outcome| o.results.values().map(|r| r.artifact.digest()).collect::<Vec<_>>();
        assert_eq!(digests(a), digests(b));
    }
}

#[test]
fn a_failure_stops_what_has_not_begun_or_only_what_depends_on_it() {
    let bench = Bench::new(DIAMOND);
    let fails: &[&str] = &["b.with.plus=-99"];
    for jobs in [1, 4] {
        let limits = Limits { jobs, keep_going: true, ..Limits::default() };
        let outcome = walks(&bench, &Watch::default(), &[fails], limits).remove(0);
        let failed: Vec<_> = outcome.failed.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!((failed, &outcome.open[..]), (vec!["b"], &["d".to_owned(), "e".to_owned()][..]));
        assert!(outcome.results.len() == 2, "a and c have results");
        let watch = Watch::default();
        let stopped = walks(&bench, &watch, &[fails, &["c.with.plus=7"]], Limits { jobs, ..Limits::default() });
        assert!(!stopped[0].failed.is_empty());
        let tries = watch.0.into_inner().unwrap().starts.get("b").copied().unwrap_or(0);
        assert!((1..=2).contains(&tries), "{tries}");
        assert_eq!(stopped.len(), jobs.min(2), "with one job the second walk never begins");
    }
}

/// Sets the flag when a stage starts.
struct Stop<'a>(&'a AtomicBool, &'a str);

impl Observer for Stop<'_> {
    fn event(&self, event: &Event<'_>) {
        if matches!(event, Event::Started { instance, .. } if *instance == self.1) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    fn progress<'o>(&'o self, _: &str) -> Box<dyn Progress + 'o> {
        Box::new(NoProgress)
    }
}

#[test]
fn stopped_walks_say_so_once_and_go_on_later() {
    let whole = Bench::new(WIDE);
    let digests = |bench: &Bench| {
        let outcome = walks(bench, &Watch::default(), &[&[]], Limits::default()).remove(0);
        outcome.results.values().map(|r| r.artifact.digest()).collect::<Vec<_>>()
    };
    for (jobs, at) in [(1, "heavy2"), (4, "heavy1"), (4, "a"), (1, "a")] {
        let (bench, registry, cancel) = (Bench::new(WIDE), registry(), AtomicBool::new(false));
        let mut graph = Graph::load(&bench.path("p.yaml"), &[], &registry).unwrap();
        graph.check(&(0..graph.nodes.len()).collect()).unwrap();
        let (store, stop) = (bench.store(), Stop(&cancel, at));
        let session = Session { graph: &graph, store: &store, observer: &stop, cancel: &cancel };
        let limits = Limits { jobs, heavy: 4, ..Limits::default() };
        let outcome = oops_engine::run(session, &Selection::default(), &[], limits).unwrap();
        assert!(!outcome.failed.is_empty(), "{at}");
        assert!(outcome.failed.iter().all(|(_, f)| f.class().exit_code() == 130), "{:?}", outcome.failed);
        assert_eq!(outcome.executed.len() + outcome.failed.len() + outcome.open.len(), 5);
        assert_eq!(digests(&bench), digests(&whole));
        assert_eq!(bench.store().verify().unwrap().1, []);
    }
}

#[test]
fn a_damaged_input_is_made_again_while_others_run() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = Bench::new(WIDE);
    let text = std::fs::read_to_string(bench.path("p.yaml")).unwrap();
    bench.pipeline(&(text + "  big: { use: test.add, in: { numbers: a }, with: { pad: 5000000 } }\n"));
    walks(&bench, &Watch::default(), &[&[]], Limits::default());
    let blobs = crate::fakes::files(&bench.path("store/blobs"));
    let large = blobs.iter().find(|p| p.metadata().unwrap().len() == 5_000_000).unwrap();
    std::fs::set_permissions(large, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(large, vec![1; 5_000_000]).unwrap();
    let text = std::fs::read_to_string(bench.path("p.yaml")).unwrap();
    let more =
        (0..4).map(|k| format!("  more{k}: {{ use: test.add, in: {{ numbers: big }}, with: {{ plus: {k} }} }}\n"));
    bench.pipeline(&(text + &more.collect::<String>()));
    let outcome = walks(&bench, &Watch::default(), &[&[]], Limits { jobs: 4, ..Limits::default() }).remove(0);
    assert!(outcome.failed.is_empty(), "{:?}", outcome.failed);
    assert_eq!(outcome.executed, ["big", "more0", "more1", "more2", "more3"]);
    assert_eq!(bench.store().verify().unwrap().1, []);
}
