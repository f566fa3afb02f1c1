//! Laws of collection: what stays is whole, what is used stays, what goes is what was announced.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use oops_core::{Digest, Rng};

use super::{Policy, Why};
use crate::{
    Lookup, Record, RunLog, Store,
    testing::{age, publish},
};

const DAY: Duration = Duration::from_hours(24);

fn log(store: &Store, records: &[&Record]) {
    let keys = records.iter().map(|r| (r.provenance.instance.clone(), r.key())).collect();
    store.log_run(&RunLog { pipeline: PathBuf::from("p.yaml"), overrides: Vec::new(), keys, outcome: None }).unwrap();
}

fn is_hit(store: &Store, record: &Record) -> bool {
    matches!(store.lookup(&record.key()), Lookup::Hit(_))
}

/// A store as a later process finds it: nothing is in use any more.
fn reopened(root: &Path) -> Store {
    Store::open(root).unwrap()
}

/// Whatever their keys are: records know the second in which they were made, and a small run makes all of them in one.
#[test]
fn of_results_of_one_second_the_largest_goes_first() {
    for round in 0..8 {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("store");
        let store = reopened(&root);
        let sizes = [10, 1000, 20];
        let made = sizes.map(|n| publish(&store, &format!("{round} {n}"), &[("a", &vec![n as u8; n])]));
        log(&store, &made.each_ref());
        drop(store);
        let store = reopened(&root);
        store.collect(&Policy { older_than: None, keep_bytes: Some(100) }, &mut || {}).unwrap();
        let same_second = made.iter().all(|r| r.provenance.started_unix_s == made[0].provenance.started_unix_s);
        assert!(!same_second || made.each_ref().map(|r| is_hit(&store, r)) == [true, false, true], "{round}");
    }
}

#[test]
fn results_go_by_reachability_age_and_size() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let store = reopened(&root);
    let made: Vec<Record> = ["fresh", "old", "forgotten", "new"]
        .iter()
        .map(|n| publish(&store, n, &[("a", n.as_bytes()), ("same", b"shared by all")]))
        .collect();
    log(&store, &[&made[0], &made[1]]);
    drop(store);
    let store = reopened(&root);
    age(&store, &made[1], 40);
    age(&store, &made[2], 8);
    let only = |policy: Policy| store.garbage(&policy).unwrap().groups;
    let default = only(Policy::default());
    assert_eq!(default.keys().collect::<Vec<_>>(), [&Why::Unrecorded]);
    assert_eq!((default[&Why::Unrecorded].items, default[&Why::Unrecorded].bytes), (1, 9), "the shared file stays");
    let old = Policy { older_than: Some(DAY * 30), keep_bytes: None };
    assert_eq!(only(old).keys().collect::<Vec<_>>(), [&Why::Old, &Why::Unrecorded]);
    let small = Policy { older_than: None, keep_bytes: Some(21) };
    assert_eq!(only(small)[&Why::Beyond].items, 1, "the one that was used least recently");
    let gone = store.collect(&small, &mut || {}).unwrap();
    assert!(gone.kept == 2 && gone.kept_bytes <= 21, "{gone:?}");
    assert_eq!(made.iter().map(|r| is_hit(&store, r)).collect::<Vec<_>>(), [true, false, false, true]);
    assert_eq!(store.verify().unwrap().1, []);
    assert!(store.garbage(&small).unwrap().groups.is_empty());
}

#[test]
fn old_runs_go_with_the_last_of_their_results() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let store = reopened(&root);
    let made: Vec<Record> = ["a", "b", "c"].iter().map(|n| publish(&store, n, &[("f", n.as_bytes())])).collect();
    made.iter().for_each(|r| log(&store, &[r]));
    drop(store);
    let store = reopened(&root);
    let long_ago = std::time::SystemTime::now() - DAY * 40;
    for path in store.run_logs().unwrap() {
        fs::File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
    }
    let policy = Policy { older_than: Some(DAY * 30), keep_bytes: None };
    // `a` is old, `b` is in use by nobody but fresh; the run of `c` is the last.
    age(&store, &made[0], 40);
    age(&store, &made[2], 40);
    assert!(!store.garbage(&Policy::default()).unwrap().groups.contains_key(&Why::Run), "only where an age is given");
    let gone = store.collect(&policy, &mut || {}).unwrap();
    assert_eq!(gone.groups[&Why::Run].items, 1, "{gone:?}");
    assert_eq!(store.runs().len(), 2);
    assert!(is_hit(&store, &made[1]) && !is_hit(&store, &made[0]));
    assert!(store.last_run(Path::new("p.yaml")).unwrap().keys.values().any(|k| *k == made[2].key()));
    assert_eq!(store.verify().unwrap().1, []);
}

#[test]
fn leftovers_go_and_work_that_somebody_may_go_on_with_stays() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let store = reopened(&root);
    let record = publish(&store, "a", &[("a", b"bytes")]);
    log(&store, &[&record]);
    let started = Digest::of(b"started");
    for (path, bytes) in [
        (store.scratch(&record.key()).join("journal.jsonl"), "spent"),
        (store.scratch(&started).join("journal.jsonl"), "resumable"),
        (root.join("tmp/1-1-1.0"), "half"),
        (root.join("sessions/1-1-1"), "dead"),
        (root.join("locks").join(started.to_string()), ""),
        (root.join("damaged/x"), "damaged"),
        (store.blob_path(&Digest::of(b"orphan")), "orphan"),
    ] {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    drop(store);
    let store = reopened(&root);
    let gone = store.collect(&Policy::default(), &mut || {}).unwrap();
    let items: BTreeMap<Why, usize> = gone.groups.iter().map(|(w, g)| (*w, g.items)).collect();
    assert_eq!(items, BTreeMap::from([(Why::Orphan, 1), (Why::Leftover, 4), (Why::Damaged, 1)]));
    assert!(is_hit(&store, &record) && store.scratch(&started).exists());
    let now = Policy { older_than: Some(Duration::ZERO), keep_bytes: None };
    assert_eq!(reopened(&root).garbage(&now).unwrap().used, 1, "another process has looked it up");
    drop(store);
    let gone = reopened(&root).collect(&now, &mut || {}).unwrap();
    assert_eq!((gone.groups[&Why::Old].items, gone.groups[&Why::Unfinished].items, gone.kept), (1, 1, 0));
}

#[test]
fn what_a_living_process_uses_or_makes_stays() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let (user, collector) = (reopened(&root), reopened(&root));
    let all = Policy { older_than: Some(Duration::ZERO), keep_bytes: Some(0) };
    let making = Digest::of(b"making");
    let _lock = user.lock(&making, || Ok(())).unwrap();
    fs::create_dir_all(user.scratch(&making)).unwrap();
    let record = publish(&user, "a", &[("a", b"bytes")]);
    let gone = collector.collect(&all, &mut || {}).unwrap();
    assert!(gone.groups.is_empty() && gone.used == 1, "{gone:?}");
    assert!(user.scratch(&making).exists() && is_hit(&user, &record));
}

#[test]
fn nothing_is_deleted_from_a_store_that_is_not_understood() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let record = publish(&reopened(&root), "a", &[("a", b"bytes")]);
    fs::write(root.join("actions").join(format!("{}.json", Digest::of(b"b"))), "{").unwrap();
    let store = reopened(&root);
    let fault = store.collect(&Policy { older_than: Some(Duration::ZERO), keep_bytes: None }, &mut || {}).unwrap_err();
    assert!(fault.class().exit_code() == 6 && fault.to_string().contains("oops verify"), "{fault}");
    assert!(is_hit(&store, &record));
}

#[test]
fn a_collection_never_breaks_what_it_keeps() {
    for seed in 0..12 {
        let mut dice = Rng::new(seed, "collections");
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("store");
        let store = reopened(&root);
        let made: Vec<Record> = (0..8)
            .map(|i| {
                // Few contents, so that results share files.
                let contents: Vec<String> = (0..3).map(|_| "x".repeat(1 + dice.below(9))).collect();
                let files =
                    [("a", contents[0].as_bytes()), ("b", contents[1].as_bytes()), ("c", contents[2].as_bytes())];
                publish(&store, &format!("{seed}-{i}"), &files[..=dice.below(3)])
            })
            .collect();
        log(&store, &made.iter().filter(|_| dice.below(2) == 0).collect::<Vec<_>>());
        drop(store);
        let store = reopened(&root);
        made.iter().for_each(|r| age(&store, r, dice.below(60) as u64));
        let user = reopened(&root);
        let used = &made[dice.below(8)];
        assert!(is_hit(&user, used));
        let policy = Policy {
            older_than: (dice.below(2) == 0).then(|| DAY * dice.below(60) as u32),
            keep_bytes: (dice.below(2) == 0).then(|| dice.below(40) as u64),
        };
        let told = store.garbage(&policy).unwrap();
        assert_eq!(store.collect(&policy, &mut || {}).unwrap(), told);
        assert!(store.garbage(&policy).unwrap().groups.is_empty(), "seed {seed}");
        assert_eq!(store.verify().unwrap().1, [], "seed {seed}");
        let kept: Vec<&Record> = made.iter().filter(|r| store.record_path(&r.key()).exists()).collect();
        assert!(kept.len() == told.kept && kept.iter().all(|r| is_hit(&store, r)) && is_hit(&store, used));
        assert!(policy.keep_bytes.is_none_or(|n| told.kept_bytes <= n || told.kept == 1), "seed {seed} {told:?}");
    }
}
