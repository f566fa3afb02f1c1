//! `--from`, `--to`, `--only`, `--force` and targets.

use std::{collections::BTreeSet, sync::atomic::AtomicBool};

use oops_engine::{Lookups, Outcome, Reason, Selection, Session, Silent, State, plan_with};
use oops_pipeline::Graph;

use crate::fakes::{Bench, DIAMOND, registry};

fn ran(outcome: &Outcome) -> (Vec<&str>, Vec<&str>) {
    assert!(outcome.failed.is_empty(), "{:?}", outcome.failed);
    let names = |list: &'_ [String]| list.iter().map(|s| s.as_str().to_owned().leak() as &str).collect();
    (names(&outcome.executed), names(&outcome.cached))
}

#[test]
fn targets_and_to_take_their_ancestors_along() {
    let bench = Bench::new(DIAMOND);
    let targets = Selection { targets: vec!["b".to_owned()], ..Selection::default() };
    assert_eq!(ran(&bench.select(&[], &targets).unwrap()), (vec!["a", "b"], vec![]));
    let to = Selection { to: Some("d".into()), ..Selection::default() };
    assert_eq!(ran(&bench.select(&[], &to).unwrap()), (vec!["c", "d"], vec!["a", "b"]));
}

#[test]
fn from_and_only_need_everything_else_in_the_store() {
    let bench = Bench::new(DIAMOND);
    let from = Selection { from: Some("d".into()), ..Selection::default() };
    let (name, fault) = bench.select(&[], &from).unwrap().failed.remove(0);
    assert_eq!((name.as_str(), fault.class().exit_code()), ("a", 3));
    assert!(fault.to_string().contains("run it first"), "{fault}");

    bench.executed(&[]);
    let only = Selection { only: Some("d".into()), ..Selection::default() };
    assert_eq!(ran(&bench.select(&["d.with.plus=3"], &only).unwrap()), (vec!["d"], vec![]));
    assert_eq!(ran(&bench.select(&["d.with.plus=3"], &from).unwrap()), (vec!["e"], vec!["d"]));
    assert!(!bench.select(&["b.with.plus=3"], &only).unwrap().failed.is_empty(), "b would have to run");
}

#[test]
fn force_runs_a_cached_stage_but_equal_bytes_stop_there() {
    let bench = Bench::new(DIAMOND);
    bench.executed(&[]);
    bench.heard();
    let force = Selection { force: vec!["b".to_owned()], ..Selection::default() };
    assert_eq!(ran(&bench.select(&[], &force).unwrap()), (vec!["b"], vec!["a", "c", "d", "e"]));
    assert_eq!(bench.heard(), ["b: forced"]);
}

#[test]
fn a_plan_knows_what_is_forced() {
    let bench = Bench::new(DIAMOND);
    bench.executed(&[]);
    let (registry, store, cancel) = (registry(), bench.store(), AtomicBool::new(false));
    let mut graph = Graph::load(&bench.path("p.yaml"), &[], &registry).unwrap();
    let all: BTreeSet<usize> = (0..graph.nodes.len()).collect();
    graph.check(&all).unwrap();
    let session = Session { graph: &graph, store: &store, observer: &Silent, cancel: &cancel };
    let force = Selection { force: vec!["b".to_owned()], ..Selection::default() };
    let forced = force.forced(&graph).unwrap();
    let planned = plan_with(session, all, &forced, &mut Lookups::default()).unwrap();
    let state = |name: &str| &planned.iter().find(|p| graph.nodes[p.node].name == name).unwrap().state;
    assert!(matches!(state("b"), State::Stale(Reason::Forced)));
    assert!(matches!(state("c"), State::Cached(_)));
    assert!(matches!(state("d"), State::Waits(input) if input == "b"));
}

#[test]
fn wrong_names_are_explained() {
    let bench = Bench::new("version: 1\nstages: { first: { use: test.read, with: { path: number.txt } } }");
    let wrong = Selection { force: vec!["frist".to_owned()], ..Selection::default() };
    let fault = bench.select(&[], &wrong).err().unwrap();
    assert!(fault.to_string().contains("did you mean `first`"), "{fault}");
    assert_eq!(fault.class().exit_code(), 2);
}
