//! What is in the store. Whatever cannot be read or does not parse stops the collection: it might refer to something.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use oops_core::{Digest, Fault, Result};

use crate::{
    RunLog, Store,
    fsio::{cannot_read, list},
    usage::Sessions,
};

/// A published result.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) path: PathBuf,
    pub(super) key: Digest,
    pub(super) blobs: BTreeSet<Digest>,
    pub(super) used: SystemTime,
    /// When it was made, in seconds since 1970.
    pub(super) made: u64,
}

/// A file or folder that is neither record nor blob.
#[derive(Debug)]
pub(super) struct Thing {
    pub(super) path: PathBuf,
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) changed: SystemTime,
}

/// A recorded run.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) thing: Thing,
    /// Actions that it resolved to.
    pub(super) keys: BTreeSet<Digest>,
    /// Whether it is its pipeline's last.
    pub(super) last: bool,
}

/// Everything that a choice depends on.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) records: Vec<Entry>,
    /// Blobs by digest, with their lengths.
    pub(super) blobs: BTreeMap<Digest, (PathBuf, u64)>,
    /// Recorded runs.
    pub(super) logs: Vec<Log>,
    /// Actions that living processes use.
    pub(super) used: BTreeSet<Digest>,
    pub(super) scratch: Vec<Thing>,
    /// What dead processes left.
    pub(super) leftovers: Vec<Thing>,
    pub(super) damaged: Vec<Thing>,
}

impl Store {
    pub(super) fn survey(&self) -> Result<Survey> {
        let things = |folder: &str| -> Result<Vec<Thing>> {
            list(&self.root.join(folder))?.into_iter().filter_map(thing).collect()
        };
        let folder = self.root.join("sessions");
        let sessions = Sessions::read(list(&folder)?).map_err(|e| cannot_read(&folder, &e))?;
        let mut leftovers = things("tmp")?;
        leftovers.retain(|t| !sessions.living.contains(t.name.split('.').next().unwrap_or_default()));
        leftovers.extend(sessions.dead.into_iter().filter_map(thing).collect::<Result<Vec<_>>>()?);
        let free = |t: &Thing| File::open(&t.path).is_ok_and(|f| f.try_lock().is_ok());
        leftovers.extend(things("locks")?.into_iter().filter(free));
        let blobs = self.blobs()?.into_iter().filter_map(|(path, bytes)| Some((digest(&path)?, (path, bytes))));
        Ok(Survey {
            blobs: blobs.collect(),
            records: self.records()?.into_iter().map(|(p, r)| entry(p, r)).collect::<Result<_>>()?,
            logs: self.logs()?,
            used: sessions.keys,
            scratch: things("scratch")?,
            leftovers,
            damaged: things("damaged")?,
        })
    }

    /// Logs of runs, each with the actions that it resolved to.
    fn logs(&self) -> Result<Vec<Log>> {
        let mut paths = self.run_logs()?;
        // Names are times: of a folder, the last one is that of the pipeline's last run.
        paths.sort();
        let last = |i: usize| paths.get(i + 1).is_none_or(|next| next.parent() != paths[i].parent());
        let one = |(i, path): (usize, &PathBuf)| {
            let bytes = fs::read(path).map_err(|e| cannot_read(path, &e))?;
            let log: RunLog = serde_json::from_slice(&bytes).map_err(|e| unsound(path, &e.to_string()))?;
            let keys = log.keys.into_values().collect();
            Ok(thing(path.clone()).transpose()?.map(|thing| Log { thing, keys, last: last(i) }))
        };
        paths.iter().enumerate().map(one).filter_map(Result::transpose).collect()
    }
}

fn unsound(path: &Path, reason: &str) -> Fault {
    Fault::store(format!("nothing is deleted from a damaged store: {reason}"))
        .at(path.display())
        .help("run `oops verify` first: it takes damaged files out of service")
}

fn entry(path: PathBuf, record: std::result::Result<crate::Record, String>) -> Result<Entry> {
    let record = record.map_err(|reason| unsound(&path, &reason))?;
    let used = fs::metadata(&path).and_then(|m| m.modified()).map_err(|e| cannot_read(&path, &e))?;
    Ok(Entry {
        key: record.key(),
        blobs: record.files.values().map(|f| f.digest).collect(),
        made: record.provenance.started_unix_s,
        path,
        used,
    })
}

fn digest(path: &Path) -> Option<Digest> {
    path.file_name()?.to_str()?.parse().ok()
}

/// Measures a file or a whole folder; none if it vanished.
fn thing(path: PathBuf) -> Option<Result<Thing>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    match measure(&path) {
        Ok((bytes, changed)) => Some(Ok(Thing { path, name, bytes, changed })),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => Some(Err(cannot_read(&path, &e))),
    }
}

/// Bytes in all, and the time of the last change.
fn measure(path: &Path) -> io::Result<(u64, SystemTime)> {
    let meta = fs::symlink_metadata(path)?;
    let mut sum = (if meta.is_file() { meta.len() } else { 0 }, meta.modified()?);
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            match measure(&entry?.path()) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                other => sum = other.map(|(bytes, changed)| (sum.0 + bytes, sum.1.max(changed)))?,
            }
        }
    }
    Ok(sum)
}
