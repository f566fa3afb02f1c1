//! Many walks over one store.

use std::{
    collections::BTreeSet,
    sync::{Mutex, atomic::AtomicBool},
};

use oops_engine::{
    Event, Job, Limits, Lookups, Observer, Outcome, Selection, Session, Silent, State, plan, plan_with, run_all,
};
use oops_pipeline::Graph;
use oops_stage::{NoProgress, Progress};

use crate::fakes::{Bench, DIAMOND, registry};

/// Instances that started, whether or not they ended well.
#[derive(Default)]
struct Starts(Mutex<Vec<String>>);

impl Observer for Starts {
    fn event(&self, event: &Event<'_>) {
        if let Event::Started { instance, .. } = event {
            self.0.lock().unwrap().push((*instance).to_owned());
        }
    }

    fn progress<'o>(&'o self, _: &str) -> Box<dyn Progress + 'o> {
        Box::new(NoProgress)
    }
}

/// Walks the pipeline once per list of overrides; executed stages and the failed one of each walk.
fn walks(bench: &Bench, starts: &Starts, all: &[&[&str]], keep_going: bool) -> Vec<(Vec<String>, Option<String>)> {
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
        session: Session { graph, store: &store, observer: starts, cancel: &cancel },
        selection: Selection::default(),
        overrides: Vec::new(),
    });
    let jobs: Vec<Job<'_>> = jobs.collect();
    let mut ended = Vec::new();
    let end = &mut |_: usize, outcome: Outcome| {
        ended.push((outcome.executed, outcome.failed.into_iter().map(|(name, _)| name).next()));
        Ok(())
    };
    run_all(&jobs, Limits { keep_going, ..bench.limits }, &mut |_| (), end).unwrap();
    ended
}

#[test]
fn a_failed_action_is_not_tried_again_and_others_go_on() {
    let bench = Bench::new(DIAMOND);
    // A negative sum fails: `b` in the first two walks is the same action.
    let all: [&[&str]; 4] = [&["b.with.plus=-99"], &["b.with.plus=-99", "c.with.plus=5"], &[], &["c.with.plus=-99"]];
    let starts = Starts::default();
    let ended = walks(&bench, &starts, &all, true);
    let failed: Vec<_> = ended.iter().map(|(_, failed)| failed.as_deref()).collect();
    assert_eq!(failed, [Some("b"), Some("b"), None, Some("c")]);
    let tries = starts.0.lock().unwrap().iter().filter(|name| *name == "b").count();
    assert_eq!(tries, 2, "once failing, once not");
    assert_eq!(ended[0].0, ["a", "c"], "what does not depend on `b` runs, and counts");
    assert_eq!(ended[2].0, ["b", "d", "e"]);
    assert_eq!(walks(&bench, &starts, &all, false).len(), 1, "without --keep-going the first failure ends it");
}

#[test]
fn stages_that_one_run_would_do_for_have_one_identity() {
    let bench = Bench::new(DIAMOND);
    let registry = registry();
    let (store, cancel) = (bench.store(), AtomicBool::new(false));
    let identities = |overrides: &[&str]| {
        let overrides: Vec<String> = overrides.iter().map(|&o| o.to_owned()).collect();
        let mut graph = Graph::load(&bench.path("p.yaml"), &overrides, &registry).unwrap();
        let all: std::collections::BTreeSet<usize> = (0..graph.nodes.len()).collect();
        graph.check(&all).unwrap();
        let session = Session { graph: &graph, store: &store, observer: &bench.log, cancel: &cancel };
        plan(session, all).unwrap().into_iter().map(|p| p.identity).collect::<Vec<_>>()
    };
    let (plain, other) = (identities(&[]), identities(&["c.with.plus=5"]));
    let same: Vec<bool> = plain.iter().zip(&other).map(|(a, b)| a == b).collect();
    assert_eq!(same, [true, true, false, false, false], "a b | c d e");
    assert_eq!(plain, identities(&[]));
}

mod measured {
    use super::*;

    #[test]
    #[ignore = "a measurement: needs an idle machine"]
    fn planning_two_thousand_nodes_takes_little_time_and_asks_everything_once() {
        use std::{fmt::Write as _, time::Instant};
        let mut text = "version: 1\nstages:\n  s0: { use: test.read, with: { path: number.txt } }\n".to_owned();
        for i in 1..10 {
            writeln!(text, "  s{i}: {{ use: test.add, in: {{ numbers: s{} }}, with: {{ plus: 1 }} }}", i - 1).unwrap();
        }
        let (bench, registry) = (Bench::new(&text), registry());
        bench.select(&[], &Selection::default()).unwrap();
        let (store, cancel, start) = (bench.store(), AtomicBool::new(false), Instant::now());
        let (mut lookups, mut would_run, mut nodes) = (Lookups::default(), 0, 0);
        for k in 0..200 {
            // Cells share five stages that are in the store and differ from the sixth on.
            let mut graph =
                Graph::load(&bench.path("p.yaml"), &[format!("s6.with.plus={}", k + 2)], &registry).unwrap();
            let all: std::collections::BTreeSet<usize> = (0..graph.nodes.len()).collect();
            graph.check(&all).unwrap();
            let session = Session { graph: &graph, store: &store, observer: &Silent, cancel: &cancel };
            let planned = plan_with(session, all, &BTreeSet::new(), &mut lookups).unwrap();
            nodes += planned.len();
            would_run += planned.iter().filter(|p| !matches!(p.state, State::Cached(_))).count();
        }
        assert_eq!((nodes, would_run), (2000, 800));
        assert!(start.elapsed().as_secs_f64() < 2.0, "{:?}", start.elapsed());
    }
}
