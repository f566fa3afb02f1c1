//! Export and import: identity, and every file that is not what export wrote changes nothing.

use std::{
    fs,
    path::{Path, PathBuf},
};

use oops_core::Digest;

use super::ustar;
use crate::{FileRef, Lookup, Policy, Record, Store, testing::publish};

fn open(dir: &Path, name: &str) -> Store {
    Store::open(dir.join(name)).unwrap()
}

/// Two results that share a file, one of them with a long one, packed.
fn packed(dir: &Path) -> (Store, Vec<Record>, PathBuf) {
    let store = open(dir, "from");
    let long = vec![7; 3_000_000];
    let records = vec![
        publish(&store, "a", &[("x/y.bin", &long), ("same", b"same"), ("empty", b"")]),
        publish(&store, "b", &[("same", b"same")]),
    ];
    let file = dir.join("cache.tar");
    store.export(&records, &file, &mut |_, _| {}).unwrap();
    (store, records, file)
}

fn hits(store: &Store, records: &[Record]) -> usize {
    records.iter().filter(|r| matches!(store.lookup(&r.key()), Lookup::Hit(found) if *found == **r)).count()
}

/// All paths below a store but those of its own bookkeeping.
fn contents(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for folder in ["actions", "blobs", "runs", "tmp"] {
        let mut stack = vec![dir.join(folder)];
        while let Some(path) = stack.pop() {
            match fs::read_dir(&path) {
                Ok(entries) => stack.extend(entries.map(|e| e.unwrap().path())),
                Err(_) => all.extend(path.exists().then_some(path)),
            }
        }
    }
    all
}

#[test]
fn what_is_exported_is_what_is_imported() {
    let dir = tempfile::tempdir().unwrap();
    let (from, records, file) = packed(dir.path());
    let to = open(dir.path(), "to");
    let checked = to.import(&file, false, &mut |_, _| {}).unwrap();
    assert_eq!((checked.results.len(), hits(&to, &records), contents(to.root()).len()), (2, 0, 0));
    assert_eq!(to.import(&file, true, &mut |_, _| {}).unwrap().new, 2);
    assert_eq!(to.import(&file, true, &mut |_, _| {}).unwrap().new, 0);
    assert_eq!((hits(&to, &records), hits(&from, &records)), (2, 2));
    assert_eq!(to.verify().unwrap(), (3 + 2 + 1, vec![]));
    assert!(fs::read_dir(to.root().join("tmp")).unwrap().next().is_none());
    // The same bytes again, from the other store, in the other order.
    let again = dir.path().join("again.tar");
    to.export(&[records[1].clone(), records[0].clone()], &again, &mut |_, _| {}).unwrap();
    assert_eq!(fs::read(&file).unwrap(), fs::read(&again).unwrap());
    drop(to);
    let to = open(dir.path(), "to");
    assert!(to.garbage(&Policy::default()).unwrap().groups.is_empty(), "an import counts as a run");
}

#[test]
fn other_programs_can_list_it() {
    let dir = tempfile::tempdir().unwrap();
    let (_, records, file) = packed(dir.path());
    let Ok(listed) = std::process::Command::new("tar").arg("tf").arg(&file).output() else { return };
    let text = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.status.success() && listed.stderr.is_empty(), "{:?}", String::from_utf8_lossy(&listed.stderr));
    assert_eq!(text.lines().count(), 1 + 2 + 3);
    assert!(text.contains(&format!("actions/{}.json", records[0].key())), "{text}");
}

/// Imports a changed copy, expects a fault of exit code 3 and an untouched store.
fn refused(dir: &Path, bytes: &[u8], why: &str) {
    let (file, to) = (dir.join("changed.tar"), open(dir, "untouched"));
    fs::write(&file, bytes).unwrap();
    let fault = to.import(&file, true, &mut |_, _| {}).unwrap_err();
    assert_eq!(fault.class().exit_code(), 3, "{why}: {fault}");
    assert!(fault.to_string().contains("changed.tar") && fault.help_text().is_some(), "{why}: {fault}");
    assert_eq!(contents(to.root()), Vec::<PathBuf>::new(), "{why}");
}

#[test]
fn a_changed_file_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (_, _, file) = packed(dir.path());
    let whole = fs::read(file).unwrap();
    for cut in [0, 1, 511, 512, 600, 1024, 2048, 5000, whole.len() / 2, whole.len() - 1024, whole.len() - 1] {
        refused(dir.path(), &whole[..cut], &format!("cut at {cut}"));
    }
    refused(dir.path(), &[&whole[..], &[0; 512]].concat(), "longer");
    // One bit anywhere: headers, texts, padding, contents and the end are all covered by some check.
    for at in (0..8000).step_by(37).chain((8000..whole.len()).step_by(90_001)).chain([whole.len() - 1]) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        refused(dir.path(), &bytes, &format!("bit of byte {at}"));
    }
}

/// A file as export writes it, but with a record of our own making.
fn forged(record: &Record, files: &[&[u8]]) -> Vec<u8> {
    let mut files: Vec<(Digest, &[u8])> = files.iter().map(|b| (Digest::of(b), *b)).collect();
    files.sort_unstable();
    let text = serde_json::to_vec(record).unwrap();
    let list: Vec<FileRef> = files.iter().map(|(d, b)| FileRef { digest: *d, bytes: b.len() as u64 }).collect();
    let manifest = serde_json::json!({
        "format": super::FORMAT, "records": [{ "key": record.key(), "digest": Digest::of(&text), "bytes": text.len() }], "files": list,
    });
    let manifest = manifest.to_string();
    let mut entries =
        vec![(super::MANIFEST.to_owned(), manifest.as_bytes()), (super::record_name(&record.key()), &text[..])];
    entries.extend(files.iter().map(|(d, b)| (super::blob_name(d), *b)));
    let mut out = Vec::new();
    for (name, bytes) in entries {
        out.extend(ustar::header(&name, bytes.len() as u64));
        out.extend(bytes);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.extend([0; 1024]);
    out
}

#[test]
fn a_file_that_leads_elsewhere_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let good = publish(&open(dir.path(), "from"), "a", &[("f", b"bytes")]);
    fs::write(dir.path().join("good.tar"), forged(&good, &[b"bytes"])).unwrap();
    assert_eq!(open(dir.path(), "to").import(&dir.path().join("good.tar"), true, &mut |_, _| {}).unwrap().new, 1);
    for name in ["../f", "/f", "a/../../f", "a//b", "", ".", "a\\b", "C:f", "a/"] {
        let mut bad = good.clone();
        bad.files = bad.files.into_values().map(|f| (name.to_owned(), f)).collect();
        refused(dir.path(), &forged(&bad, &[b"bytes"]), name);
    }
    refused(dir.path(), &forged(&good, &[]), "a file is missing");
    refused(dir.path(), &forged(&good, &[b"bytes", b"more"]), "a file too many");
}
