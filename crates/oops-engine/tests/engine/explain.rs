//! What changed for a stage, down to the root causes.

use std::sync::atomic::AtomicBool;

use oops_engine::{Cause, Explained, Selection, Session, Silent, explain};
use oops_pipeline::Graph;

use crate::fakes::{Bench, DIAMOND, registry};

/// The explanation of a stage as indented lines.
fn lines(bench: &Bench, stage: &str, overrides: &[&str]) -> Vec<String> {
    let overrides: Vec<String> = overrides.iter().map(|&o| o.to_owned()).collect();
    let registry = registry();
    let mut graph = Graph::load(&bench.path("p.yaml"), &overrides, &registry).unwrap();
    graph.check(&(0..graph.nodes.len()).collect()).unwrap();
    let (store, cancel) = (bench.store(), AtomicBool::new(false));
    let session = Session { graph: &graph, store: &store, observer: &Silent, cancel: &cancel };
    let mut out = Vec::new();
    tell(&graph, &explain(session, graph.find(stage).unwrap()).unwrap(), 0, &mut out);
    out
}

fn tell(graph: &Graph<'_>, explained: &Explained, depth: usize, out: &mut Vec<String>) {
    let indent = " ".repeat(depth);
    let state = match (explained.record.is_some(), explained.repeated, explained.known) {
        (_, true, _) => "again",
        (true, ..) => "stored",
        (_, _, true) => "stale",
        (_, _, false) => "new",
    };
    out.push(format!("{indent}{} {state}", graph.nodes[explained.node].name));
    for cause in &explained.causes {
        match cause {
            Cause::Field(change) => out.push(format!("{indent} {change}")),
            Cause::File { name, old, new, .. } => {
                assert!(old.is_some() && new.is_some() && old != new);
                out.push(format!("{indent} file {name}"));
            }
            Cause::Input(input) => {
                let name = |u: &Option<oops_engine::Upstream>| {
                    let u = u.as_ref();
                    u.map(|u| {
                        format!("{}{}", u.name.as_deref().unwrap_or("?"), if u.digest.is_some() { "" } else { "?" })
                    })
                };
                let place = input.place.map(|k| k.to_string()).unwrap_or_default();
                let [was, now] = [&input.was, &input.now].map(|u| name(u).unwrap_or_default());
                out.push(format!("{indent} {}{place}: {was} > {now}", input.port));
                input.why.iter().for_each(|why| tell(graph, why, depth + 2, out));
            }
        }
    }
}

#[test]
fn a_change_far_above_is_found_before_and_after_what_lies_between_ran() {
    let bench = Bench::new(DIAMOND);
    assert_eq!(lines(&bench, "a", &[]), ["a new"]);
    bench.executed(&[]);
    assert_eq!(lines(&bench, "e", &[]), ["e stored"]);
    let set = ["b.with.plus=5", "e.with.files=9"];
    let all = ["e stale", " param files: 8 → 9", " number: d > d?", "  d stale", "   numbers0: b > b?", "    b stale"];
    assert_eq!(lines(&bench, "e", &set), [&all[..], &["     param plus: 1 → 5"]].concat());
    // What lies between runs, and is no longer what it was when e ran.
    let to = Selection { to: Some("d".to_owned()), ..Selection::default() };
    assert_eq!(bench.select(&set, &to).unwrap().executed, ["b", "d"]);
    let all = ["e stale", " param files: 8 → 9", " number: d > d", "  d stored", "   numbers0: b > b", "    b stored"];
    assert_eq!(lines(&bench, "e", &set), [&all[..], &["     param plus: 1 → 5"]].concat());
}

#[test]
fn files_other_instances_and_two_ways_to_one_cause_are_told() {
    let bench = Bench::new(DIAMOND);
    bench.executed(&[]);
    let rewired = lines(&bench, "e", &["e.in.number=b"]);
    assert_eq!(rewired, ["e stale", " number: d > b"]);
    bench.number(50);
    let all = lines(&bench, "d", &[]);
    let expected =
        ["d stale", " numbers0: b > b?", "  b stale", "   numbers: a > a?", "    a stale", "     file number.txt"];
    assert_eq!(all[..6], expected);
    assert_eq!(all[6..], [" numbers1: c > c?", "  c stale", "   numbers: a > a?", "    a again"]);
}
