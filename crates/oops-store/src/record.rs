//! Action records: what went in (the preimage of the key), what came out, and how it went.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use oops_core::{Digest, Fault, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    FileRef, Store,
    fsio::{list, make_dir},
};

/// Circumstances of a run: recorded, never part of a key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// Name of the instance that ran first.
    pub instance: String,
    /// Seconds that the run took.
    pub wall_s: f64,
    /// When it started, in seconds since 1970 (UTC).
    pub started_unix_s: u64,
    /// Name of the machine.
    pub host: String,
    /// Worker threads.
    pub threads: usize,
    /// Version of this program.
    pub program: String,
    /// Git revision of the folder it ran in, if any.
    pub revision: Option<String>,
    /// Kind of the CPU's vectors, which decides the last bits of sums; none in records of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vectors: Option<String>,
    /// Digest of the stage's source; none in records of older versions and of programs that do not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// The record of a finished action.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Canonical text whose digest is the action's key.
    pub preimage: String,
    /// Kind of the output.
    pub kind: String,
    /// Files of the output by relative path.
    pub files: BTreeMap<String, FileRef>,
    /// Figures that may differ from run to run.
    pub measured: BTreeMap<String, Value>,
    /// What the user should know of this result although it is valid, in the order in which it was noticed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Circumstances.
    pub provenance: Provenance,
}

impl Record {
    /// The key that this record answers.
    pub fn key(&self) -> Digest {
        Digest::of(self.preimage.as_bytes())
    }
}

/// Answer to a look-up.
#[derive(Debug)]
pub enum Lookup {
    /// Published, and its files are where they should be.
    Hit(Box<Record>),
    /// Never published.
    Miss,
    /// Published once, but no longer usable; why.
    Damaged(String),
}

impl Store {
    /// Path of an action's record.
    pub(crate) fn record_path(&self, key: &Digest) -> PathBuf {
        self.root.join("actions").join(format!("{key}.json"))
    }

    /// Looks an action up. Damage of any sort is a miss with a reason. A hit stays one while this process lives.
    pub fn lookup(&self, key: &Digest) -> Lookup {
        if !self.record_path(key).exists() {
            return Lookup::Miss;
        }
        let _shared = self.announce(key);
        let record = match self.record(key) {
            Ok(Some(record)) => record,
            Ok(None) => return Lookup::Miss,
            Err(reason) => return Lookup::Damaged(reason),
        };
        match record.files.iter().find(|(_, f)| !self.seems_whole(f)) {
            None => {
                touch(&self.record_path(key));
                Lookup::Hit(Box::new(record))
            }
            Some((name, _)) => Lookup::Damaged(format!("its file `{name}` is missing or damaged")),
        }
    }

    /// The record of a key, checked against the key but not against its files.
    pub fn record(&self, key: &Digest) -> std::result::Result<Option<Record>, String> {
        let path = self.record_path(key);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(format!("its record cannot be read: {e}")),
        };
        parse_record(&text, key).map(Some)
    }

    /// Publishes an action: takes `fresh` files (by path in the output) into the store, then writes the record. All
    /// other files of the record must be in the store or known as sources.
    pub fn publish(&self, record: &Record, fresh: &BTreeMap<String, PathBuf>) -> Result<()> {
        let key = record.key();
        make_dir(&self.root)?;
        let _shared = self.announce(&key);
        for (name, file) in &record.files {
            match fresh.get(name) {
                Some(path) => self.adopt(path, &file.digest)?,
                None => self.must_locate(name, file)?,
            }
        }
        self.write_record(record)?;
        self.clear_scratch(&key);
        Ok(())
    }

    /// Writes a record whose files are all in place; the caller has announced its key.
    pub(crate) fn write_record(&self, record: &Record) -> Result<()> {
        let text = serde_json::to_vec_pretty(record).map_err(|e| Fault::internal(format!("action record: {e}")))?;
        self.write_whole(&self.record_path(&record.key()), &text)
    }

    fn must_locate(&self, name: &str, file: &FileRef) -> Result<()> {
        self.locate(file).map(|_| ()).ok_or_else(|| {
            if let Some(fault) = self.forgotten().clone() {
                return fault;
            }
            Fault::data("a file that the result refers to changed or vanished while the stage ran")
                .at(name)
                .help("leave checkpoints and texts alone during a run, then run the same command again")
        })
    }

    /// All records in the store, sorted by key; the second part is `Err` for damaged ones.
    pub(crate) fn records(&self) -> Result<Vec<(PathBuf, std::result::Result<Record, String>)>> {
        Ok(list(&self.root.join("actions"))?.into_iter().map(|p| (p.clone(), load(&p))).collect())
    }

    /// All records that can be read, sorted by key; their files may be gone.
    pub fn published(&self) -> Vec<Record> {
        self.records().unwrap_or_default().into_iter().filter_map(|(_, record)| record.ok()).collect()
    }
}

fn load(path: &Path) -> std::result::Result<Record, String> {
    let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
    let key: Digest = stem.parse().map_err(|_| "its name is not a key".to_owned())?;
    let text = fs::read_to_string(path).map_err(|e| e.to_string())?;
    parse_record(&text, &key)
}

pub(crate) fn parse_record(text: &str, key: &Digest) -> std::result::Result<Record, String> {
    let record: Record = serde_json::from_str(text).map_err(|e| format!("its record does not parse: {e}"))?;
    match record.files.keys().find(|name| !is_inside(name)) {
        _ if record.key() != *key => Err("its record belongs to another key".to_owned()),
        Some(name) => Err(format!("its record names a file outside the result: {name:?}")),
        None => Ok(record),
    }
}

/// Whether a name stays inside the folder that it is joined to, on every system.
fn is_inside(name: &str) -> bool {
    let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    name.split('/').all(plain) && !name.contains(['\\', ':', '\0'])
}

/// Remembers the time of use as the record's modification time, to the minute; a store that cannot be written forgets
/// it, and nothing else.
fn touch(path: &Path) {
    let fresh = |m: fs::Metadata| Some(m.modified().ok()?.elapsed().ok()? < Duration::from_mins(1));
    if fs::metadata(path).ok().and_then(fresh) != Some(true) {
        let _ = fs::File::options().append(true).open(path).and_then(|f| f.set_modified(SystemTime::now()));
    }
}

/// Paths in a folder; none if it does not exist.
pub(crate) fn entries(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).map(|d| d.flatten().map(|e| e.path()).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_is_found_and_only_that() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        let record = Record {
            preimage: "{\"stage\":\"x\",\"damping\":0.1}".to_owned(),
            kind: "model".to_owned(),
            files: BTreeMap::from([("a/b.bin".to_owned(), FileRef { digest: Digest::of(b"bytes"), bytes: 5 })]),
            measured: BTreeMap::from([("seconds".to_owned(), Value::from(0.1))]),
            warnings: Vec::new(),
            provenance: Provenance::default(),
        };
        assert!(matches!(store.lookup(&record.key()), Lookup::Miss));
        let absent = store.publish(&record, &BTreeMap::new()).unwrap_err();
        assert_eq!(absent.class().exit_code(), 3);
        assert!(matches!(store.lookup(&record.key()), Lookup::Miss), "no record without its files");

        let work = store.scratch(&record.key());
        fs::create_dir_all(&work).unwrap();
        fs::write(work.join("b.bin"), b"bytes").unwrap();
        store.publish(&record, &BTreeMap::from([("a/b.bin".to_owned(), work.join("b.bin"))])).unwrap();
        let Lookup::Hit(found) = store.lookup(&record.key()) else { panic!("published") };
        assert_eq!(*found, record);
        assert!(!work.exists());
        let blob = store.locate(&record.files["a/b.bin"]).unwrap();
        assert!(fs::metadata(&blob).unwrap().permissions().readonly());
        assert_eq!(store.verify().unwrap(), (2, vec![]));
    }
}
