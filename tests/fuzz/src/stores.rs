//! What lies in a store, and cache files that are taken into one.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use oops_core::{Class, Digest};
use oops_store::{FileRef, Lookup, Policy, Provenance, Record, RunLog, Store};
use serde_json::json;

use crate::{Target, folder};

/// A store with one result, its record, and a run that refers to it.
fn small_store(root: &Path) -> (Store, Record) {
    let store = Store::open(root).unwrap();
    let file = FileRef { digest: Digest::of(b"bytes"), bytes: 5 };
    let record = Record {
        preimage: json!({ "stage": "a", "params": { "x": 1 } }).to_string(),
        kind: "tokens".to_owned(),
        files: BTreeMap::from([("a/b.bin".to_owned(), file)]),
        measured: BTreeMap::from([("seconds".to_owned(), json!(0.1))]),
        warnings: Vec::new(),
        provenance: Provenance { instance: "a".to_owned(), ..Provenance::default() },
    };
    let work = store.scratch(&record.key());
    fs::create_dir_all(&work).unwrap();
    fs::write(work.join("b.bin"), b"bytes").unwrap();
    store.publish(&record, &BTreeMap::from([("a/b.bin".to_owned(), work.join("b.bin"))])).unwrap();
    let keys = BTreeMap::from([("a".to_owned(), record.key())]);
    store
        .log_run(&RunLog { pipeline: "p.yaml".into(), overrides: vec!["a=b".to_owned()], keys, outcome: None })
        .unwrap();
    (store, record)
}

fn first_file(dir: &Path) -> PathBuf {
    let mut path = dir.to_owned();
    while path.is_dir() {
        path = fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()).min().unwrap();
    }
    path
}

/// Records, run logs and memos. Law: no file is believed that is not there, and `verify` leaves a sound store.
pub(crate) fn store_files() -> Target {
    let dir = folder();
    let root = dir.path().join("store");
    let (store, record) = small_store(&root);
    let text = dir.path().join("text.txt");
    fs::write(&text, "a text outside").unwrap();
    let known = store.source(&text, |_| {}).unwrap();
    let paths = ["actions", "runs", "sources/path", "sources/digest"].map(|f| first_file(&root.join(f)));
    let corpus = paths.clone().map(|p| fs::read(p).unwrap());
    Target::new(dir, corpus.to_vec(), move |which, bytes| {
        for (i, path) in paths.iter().enumerate() {
            fs::write(path, if i == which { bytes } else { &corpus[i] }).unwrap();
        }
        if let Lookup::Hit(found) = store.lookup(&record.key()) {
            assert!(found.key() == record.key() && found.files.values().all(|f| store.locate(f).is_some()));
        }
        let _ = store.last_run(Path::new("p.yaml"));
        let _ = store.garbage(&Policy::default());
        assert_eq!(store.source(&text, |_| {}).unwrap(), known);
        store.verify().unwrap();
        assert_eq!(store.verify().unwrap().1, []);
        store.garbage(&Policy::default()).unwrap();
    })
}

/// Cache files. Law: taken in whole, or refused and nothing changes.
pub(crate) fn cache_files() -> Target {
    let dir = folder();
    let (from, record) = small_store(&dir.path().join("from"));
    let file = dir.path().join("cache.tar");
    from.export(std::slice::from_ref(&record), &file, &mut |_, _| {}).unwrap();
    let corpus = vec![fs::read(&file).unwrap()];
    let root = dir.path().join("to");
    Target::new(dir, corpus, move |_, bytes| {
        fs::write(&file, bytes).unwrap();
        let to = Store::open(&root).unwrap();
        match to.import(&file, true, &mut |_, _| {}) {
            Ok(taken) => assert!(taken.results.iter().all(|r| matches!(to.lookup(&r.key()), Lookup::Hit(_)))),
            Err(fault) => {
                assert_eq!(fault.class(), Class::Data, "{fault}");
                assert!(!root.join("actions").exists() && !root.join("blobs").exists());
            }
        }
        assert_eq!(to.verify().unwrap().1, []);
        drop(to);
        if root.exists() {
            fs::remove_dir_all(&root).unwrap();
        }
    })
}
