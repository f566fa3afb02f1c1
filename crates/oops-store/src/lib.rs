//! A content-addressed store: blobs by digest, one record per finished action, nothing half-written is ever trusted.
//!
//! ```text
//! blobs/ab/<digest>       read-only file; its name is the BLAKE3 digest of its content
//! actions/<key>.json      record of a finished action; written last, so its existence means "published"
//! scratch/<key>/          work folder of an unfinished action; deleted after publishing
//! sources/path/<digest>   memo: file outside the store (by path) → digest, valid while its stamp is unchanged
//! sources/digest/<digest> memo: digest → the same file
//! runs/<pipeline>/        what each run of a pipeline resolved to
//! locks/<key>             advisory locks, so that two processes do not do one action twice
//! lock                    store-wide lock: shared to use, alone to delete
//! sessions/<process>      actions that a living process uses; locked while it lives
//! tmp/                    files on their way to their final name
//! damaged/                what `verify` took out of service
//! ```
//!
//! Every write goes to `tmp/`, is flushed to disk and renamed. Folders are made when first written to, so that a full
//! cache on read-only media still answers.

mod blobs;
mod fsio;
mod gc;
mod lock;
mod pack;
mod record;
mod runs;
mod sources;
#[cfg(test)]
mod testing;
mod usage;
mod verify;

pub use gc::{Garbage, Group, Policy, Why};
pub use lock::ActionLock;
pub use pack::{Imported, Packed};
pub use record::{Lookup, Provenance, Record};
pub use runs::{LoggedRun, RunLog, RunOutcome};
pub use verify::Damage;

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use oops_core::{Digest, Fault, Result};
use serde::{Deserialize, Serialize};

/// A file by content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRef {
    /// Digest of the content.
    pub digest: Digest,
    /// Length in bytes.
    pub bytes: u64,
}

/// A store in a folder.
pub struct Store {
    root: PathBuf,
    /// Blobs that this process has already compared with their digests and found whole.
    checked: Mutex<BTreeSet<Digest>>,
    usage: Mutex<usage::Usage>,
    /// Why a memo could not be written.
    forgotten: Mutex<Option<Fault>>,
}

impl Store {
    /// Opens the store in `root`, which need not exist yet.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = std::path::absolute(root.into()).map_err(|e| Fault::store(format!("no current folder: {e}")))?;
        match fs::metadata(&root) {
            Ok(meta) if !meta.is_dir() => Err(Fault::store("the store must be a folder, but this is a file")
                .at(root.display())
                .help("choose another store with --cache DIR or OOPS_CACHE")),
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Fault::store(format!("cannot open the store: {e}"))
                .at(root.display())
                .help("choose another store with --cache DIR or OOPS_CACHE")),
            _ => Ok(Self { root, checked: Mutex::default(), usage: Mutex::default(), forgotten: Mutex::default() }),
        }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Bytes that the disk under the store can still take; none where the system does not tell.
    pub fn free_bytes(&self) -> Option<u64> {
        #[cfg(unix)]
        {
            let there = self.root.ancestors().find(|a| a.exists())?;
            let disk = rustix::fs::statvfs(there).ok()?;
            Some(disk.f_bavail.saturating_mul(disk.f_frsize))
        }
        #[cfg(not(unix))]
        None
    }

    /// Work folder of an action, kept until it is published.
    pub fn scratch(&self, key: &Digest) -> PathBuf {
        self.root.join("scratch").join(key.to_string())
    }

    /// Deletes the work folder of an action; what cannot be deleted only costs space.
    pub fn clear_scratch(&self, key: &Digest) {
        let _ = fs::remove_dir_all(self.scratch(key));
    }

    fn checked(&self) -> MutexGuard<'_, BTreeSet<Digest>> {
        // A poisoned lock only means that another thread panicked; the set itself is always whole.
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
