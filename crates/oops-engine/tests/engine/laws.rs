//! Laws over random graphs and random edits: what runs is what a simple model says, and results depend on neither order,
//! jobs nor interruption.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use oops_engine::{Event, Limits, Observer, Outcome, Selection, Session, run};
use oops_pipeline::Graph;
use oops_stage::{NoProgress, Progress};
use proptest::prelude::*;

use crate::fakes::{Bench, registry};

/// A stage `(Σ inputs + plus) / divide`; it fails if the sum is negative or 13.
#[derive(Clone, Debug)]
struct Sum {
    name: u8,
    plus: i64,
    divide: i64,
    /// Positions before its own; without any it reads the number that every graph begins with.
    inputs: Vec<usize>,
}

#[derive(Clone, Debug)]
enum Edit {
    Plus(usize, i64),
    Divide(usize, i64),
    Rename(usize),
    Add(Sum),
    RemoveLast,
    /// A record that the last run rests on is cut in half.
    DamageRecord(usize),
    /// The run before was stopped when this many stages had started.
    StopAfter(usize),
    Number(i64),
}

fn sum(before: usize) -> impl Strategy<Value = Sum> {
    (any::<u8>(), -45i64..40, 1i64..4, prop::collection::vec(0..before.max(1), 0..3)).prop_map(
        move |(name, plus, divide, inputs)| Sum {
            name,
            plus,
            divide,
            inputs: if before == 0 { Vec::new() } else { inputs },
        },
    )
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        (0..8usize, -45i64..40).prop_map(|(i, plus)| Edit::Plus(i, plus)),
        (0..8usize, 1i64..4).prop_map(|(i, divide)| Edit::Divide(i, divide)),
        (0..8usize).prop_map(Edit::Rename),
        sum(3).prop_map(Edit::Add),
        Just(Edit::RemoveLast),
        (0..20usize).prop_map(Edit::DamageRecord),
        (0..6usize).prop_map(Edit::StopAfter),
        (30i64..50).prop_map(Edit::Number),
    ]
}

fn graph() -> impl Strategy<Value = Vec<Sum>> {
    (sum(0), sum(1), sum(2), sum(3), sum(4), sum(5)).prop_map(|(a, b, c, d, e, f)| vec![a, b, c, d, e, f])
}

/// What the engine should do, without engine: actions in the store, by what they are made of.
#[derive(Default)]
struct Model(BTreeSet<String>);

/// What a run comes to. Two stages made of the same are one action, so what runs is told by action.
#[derive(Debug, Default, PartialEq)]
struct Came {
    executed: BTreeSet<String>,
    failed: BTreeSet<String>,
    open: BTreeSet<String>,
    values: BTreeMap<String, i64>,
}

/// A stage in the model: its action, and its value if it has one.
type Made = (String, Option<i64>);

fn name(i: usize, sum: &Sum) -> String {
    format!("s{i}_{}", sum.name)
}

/// All stages by name; without an entry, those whose inputs failed.
fn values(number: i64, sums: &[Sum]) -> BTreeMap<String, Made> {
    let mut all = BTreeMap::from([("number".to_owned(), (format!("read {number}"), Some(number)))]);
    for (i, Sum { plus, divide, inputs, .. }) in sums.iter().enumerate() {
        let value = |&j: &usize| all.get(&name(j, &sums[j])).and_then(|(_, value)| *value);
        let inputs = if inputs.is_empty() { Some(vec![number]) } else { inputs.iter().map(value).collect() };
        let Some(inputs): Option<Vec<i64>> = inputs else { continue };
        let total = inputs.iter().sum::<i64>() + plus;
        let value = (total >= 0 && total != 13).then(|| total / divide);
        all.insert(name(i, &sums[i]), (format!("add {inputs:?} {plus} {divide}"), value));
    }
    all
}

impl Model {
    /// A run that keeps going.
    fn run(&mut self, number: i64, sums: &[Sum]) -> Came {
        let (mut came, all) = (Came::default(), values(number, sums));
        let reached = |(i, sum): (usize, &Sum)| Some(name(i, sum)).filter(|name| !all.contains_key(name));
        came.open = sums.iter().enumerate().filter_map(reached).collect();
        for (name, (action, value)) in all {
            match value {
                None => drop(came.failed.insert(name)),
                Some(value) => {
                    came.values.insert(name, value);
                    if self.0.insert(action.clone()) {
                        came.executed.insert(action);
                    }
                }
            }
        }
        came
    }
}

fn yaml(sums: &[Sum], backwards: bool) -> String {
    let line = |(i, sum): (usize, &Sum)| {
        let inputs: Vec<String> = sum.inputs.iter().map(|&j| name(j, &sums[j])).collect();
        let inputs = if inputs.is_empty() { "number".to_owned() } else { inputs.join(", ") };
        let (name, Sum { plus, divide, .. }) = (name(i, sum), sum);
        format!(
            "  {name}: {{ use: test.add, in: {{ numbers: [{inputs}] }}, with: {{ plus: {plus}, divide: {divide} }} }}\n"
        )
    };
    let mut lines: Vec<String> = sums.iter().enumerate().map(line).collect();
    if backwards {
        lines.reverse();
    }
    let mut text = "version: 1\nstages:\n  number: { use: test.read, with: { path: number.txt } }\n".to_owned();
    write!(text, "{}", lines.concat()).unwrap();
    text
}

/// Sets the flag once so many stages have started.
struct StopAfter<'a>(&'a AtomicBool, AtomicUsize, usize);

impl Observer for StopAfter<'_> {
    fn event(&self, event: &Event<'_>) {
        if matches!(event, Event::Started { .. }) && self.1.fetch_add(1, Ordering::SeqCst) >= self.2 {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    fn progress<'o>(&'o self, _: &str) -> Box<dyn Progress + 'o> {
        Box::new(NoProgress)
    }
}

fn outcome(bench: &Bench, jobs: usize, stop_after: usize) -> Outcome {
    let (registry, cancel) = (registry(), AtomicBool::new(false));
    let mut graph = Graph::load(&bench.path("p.yaml"), &[], &registry).unwrap_or_else(|p| panic!("{p}"));
    graph.check(&(0..graph.nodes.len()).collect()).unwrap();
    let (store, observer) = (bench.store(), StopAfter(&cancel, AtomicUsize::new(0), stop_after));
    let session = Session { graph: &graph, store: &store, observer: &observer, cancel: &cancel };
    run(session, &Selection::default(), &[], Limits { jobs, keep_going: true, ..Limits::default() }).unwrap()
}

/// A run of the engine, told as the model tells it.
fn observed(bench: &Bench, jobs: usize, number: i64, sums: &[Sum]) -> Came {
    let outcome = outcome(bench, jobs, usize::MAX);
    let (registry, all) = (registry(), values(number, sums));
    let graph = Graph::load(&bench.path("p.yaml"), &[], &registry).unwrap();
    let value = |(i, r): (&usize, &oops_engine::Resolved)| {
        let text = fs::read_to_string(r.artifact.path("number.txt").unwrap()).unwrap();
        (graph.nodes[*i].name.clone(), text.trim().parse().unwrap())
    };
    let executed: BTreeSet<String> = outcome.executed.iter().map(|name| all[name].0.clone()).collect();
    assert_eq!(executed.len(), outcome.executed.len(), "no action runs twice: {:?}", outcome.executed);
    Came {
        executed,
        failed: outcome.failed.into_iter().map(|(name, _)| name).collect(),
        open: outcome.open.into_iter().collect(),
        values: outcome.results.iter().map(value).collect(),
    }
}

fn apply(edit: &Edit, sums: &mut Vec<Sum>) {
    let count = sums.len();
    match edit.clone() {
        Edit::Plus(i, plus) => sums[i % count].plus = plus,
        Edit::Divide(i, divide) => sums[i % count].divide = divide,
        Edit::Rename(i) => sums[i % count].name = sums[i % count].name.wrapping_add(1),
        Edit::StopAfter(i) => sums[i % count].plus += 1,
        Edit::Add(sum) => sums.push(sum),
        Edit::RemoveLast if count > 3 => drop(sums.pop()),
        Edit::RemoveLast | Edit::DamageRecord(_) | Edit::Number(_) => {}
    }
}

fn law(mut sums: Vec<Sum>, edits: Vec<Edit>, jobs: usize) {
    let (bench, mut model, mut number) = (Bench::new(&yaml(&sums, false)), Model::default(), 40);
    assert_eq!(observed(&bench, jobs, number, &sums), model.run(number, &sums), "the first run of {sums:?}");
    for (k, edit) in edits.iter().enumerate() {
        apply(edit, &mut sums);
        bench.pipeline(&yaml(&sums, k % 2 == 1));
        // Runs beside the model: as many as the damage costs, fewer by what was done before the stop.
        let (mut more, mut done) = (0, 0);
        match edit {
            Edit::Number(n) => {
                number = *n;
                bench.number(number);
            }
            Edit::DamageRecord(i) => {
                damage(&bench, *i, &outcome(&bench, jobs, usize::MAX));
                more = 1;
            }
            Edit::StopAfter(n) => done = outcome(&bench, jobs, *n).executed.len(),
            _ => {}
        }
        let (found, expected) = (observed(&bench, jobs, number, &sums), model.run(number, &sums));
        assert_eq!(found.executed.len() + done, expected.executed.len() + more, "{edit:?} on {sums:?}");
        if more + done == 0 {
            assert_eq!(found, expected, "{edit:?} on {sums:?}");
        } else {
            assert_eq!((found.failed, found.open, found.values), (expected.failed, expected.open, expected.values));
        }
        assert!(observed(&bench, jobs, number, &sums).executed.is_empty(), "a second run executes nothing");
    }
    assert_eq!(bench.store().verify().unwrap().1, []);
    // Another store, order and number of jobs: the same values.
    let other = Bench::new(&yaml(&sums, true));
    other.number(number);
    assert_eq!(observed(&other, 5 - jobs, number, &sums), Model::default().run(number, &sums));
}

/// Cuts a record in half that `now` rests on.
fn damage(bench: &Bench, i: usize, now: &Outcome) {
    let key = now.results.values().cycle().nth(i).map(|r| r.key).expect("the number is always there");
    let path = bench.path("store/actions").join(format!("{key}.json"));
    let bytes = fs::read(&path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_runs_is_what_changed_whatever_the_order_jobs_or_interruptions(
        sums in graph(),
        edits in prop::collection::vec(edit(), 1..6),
        jobs in 1usize..5,
    ) {
        law(sums, edits, jobs);
    }
}
