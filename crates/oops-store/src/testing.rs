//! Small results for tests.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    time::{Duration, SystemTime},
};

use oops_core::Digest;

use crate::{FileRef, Provenance, Record, Store};

/// Publishes a result of these files (name and content) whose key is made of `name`.
pub(crate) fn publish(store: &Store, name: &str, files: &[(&str, &[u8])]) -> Record {
    let entry = |(n, bytes): &(&str, &[u8])| {
        ((*n).to_owned(), FileRef { digest: Digest::of(bytes), bytes: bytes.len() as u64 })
    };
    let record = Record {
        preimage: format!("{{\"stage\":\"{name}\"}}"),
        kind: "tokens".to_owned(),
        files: files.iter().map(entry).collect(),
        measured: BTreeMap::new(),
        warnings: Vec::new(),
        provenance: Provenance { instance: name.to_owned(), ..Provenance::default() },
    };
    let work = store.scratch(&record.key());
    fs::create_dir_all(&work).unwrap();
    let mut fresh = BTreeMap::new();
    for (i, (n, bytes)) in files.iter().enumerate() {
        let path = work.join(format!("{i}.bin"));
        fs::write(&path, bytes).unwrap();
        fresh.insert((*n).to_owned(), path);
    }
    store.publish(&record, &fresh).unwrap();
    record
}

/// Makes a record look as if it was last used so many days ago.
pub(crate) fn age(store: &Store, record: &Record, days: u64) {
    let then = SystemTime::now() - Duration::from_hours(24 * days);
    let file = File::options().append(true).open(store.record_path(&record.key())).unwrap();
    file.set_modified(then).unwrap();
}
