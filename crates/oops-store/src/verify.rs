//! Reading everything again.
//!
//! Blobs are read without any lock: they never change, and one that vanishes was collected. Whatever looks damaged is
//! looked at once more with the store to ourselves before it is moved, since another process may have made it anew.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use oops_core::{Digest, Result};

use crate::{FileRef, RunLog, Store, blobs::digest_file, fsio::list};

/// Something in the store that is not what it claims to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.reason)
    }
}

impl Store {
    /// Reads every blob, record, run log and memo and compares them with their names. Damaged ones are moved to
    /// `damaged/`, so that the next run makes them again. Returns the number of files read and the damage.
    pub fn verify(&self) -> Result<(usize, Vec<Damage>)> {
        self.verify_with(&mut |_, _| {})
    }

    /// The same; `progress` hears how many bytes of blobs are read, of how many.
    pub fn verify_with(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<(usize, Vec<Damage>)> {
        let blobs = self.blobs()?;
        let total = blobs.iter().map(|(_, bytes)| bytes).sum();
        let (mut suspects, mut read) = (Vec::new(), 0);
        for (path, bytes) in &blobs {
            suspects.extend(damaged_blob(path));
            read += bytes;
            progress(read, total);
        }
        let shared = self.share();
        let (small, damage) = self.small_files()?;
        drop(shared);
        if suspects.is_empty() && damage.is_empty() {
            return Ok((blobs.len() + small, Vec::new()));
        }
        let _alone = self.alone(&mut || {})?;
        let mut damage: Vec<Damage> = suspects.iter().filter_map(|d| damaged_blob(&d.path)).collect();
        self.take_out(&damage)?;
        // A record that refers to a blob that was just taken out is damaged too.
        let (_, lost) = self.small_files()?;
        self.take_out(&lost)?;
        damage.extend(lost);
        Ok((blobs.len() + small, damage))
    }

    /// All blobs with their lengths.
    pub(crate) fn blobs(&self) -> Result<Vec<(PathBuf, u64)>> {
        let mut all = Vec::new();
        for folder in list(&self.root.join("blobs"))? {
            let sized = |p: PathBuf| fs::metadata(&p).ok().map(|m| (p, m.len()));
            all.extend(list(&folder)?.into_iter().filter_map(sized));
        }
        Ok(all)
    }

    /// The number of records, run logs and memos, and what is wrong with them.
    fn small_files(&self) -> Result<(usize, Vec<Damage>)> {
        let records = self.records()?;
        let (runs, memos) = (self.run_logs()?, self.memos()?);
        let count = records.len() + runs.len() + memos.len();
        let mut damage: Vec<Damage> = records.into_iter().filter_map(|(p, r)| self.damaged_record(p, r)).collect();
        damage.extend(runs.into_iter().filter_map(|path| {
            let reason = fs::read(&path).ok().and_then(|b| serde_json::from_slice::<RunLog>(&b).err())?;
            Some(Damage { path, reason: format!("the run log does not parse: {reason}") })
        }));
        let wrong = memos.into_iter().filter(|path| self.is_damaged_memo(path));
        damage.extend(wrong.map(|path| Damage { path, reason: "not a memo of the file it is named after".to_owned() }));
        Ok((count, damage))
    }

    fn take_out(&self, damage: &[Damage]) -> Result<()> {
        damage.iter().try_for_each(|d| self.quarantine(&d.path))
    }

    fn damaged_record(&self, path: PathBuf, record: std::result::Result<crate::Record, String>) -> Option<Damage> {
        let record = match record {
            Ok(record) => record,
            Err(reason) => return Some(Damage { path, reason }),
        };
        // A file outside the store may move; then the record is a miss, but nothing is damaged.
        let gone = |f: &FileRef| !self.is_source(&f.digest) && self.locate(f).is_none();
        let (name, _) = record.files.iter().find(|(_, f)| gone(f))?;
        Some(Damage { path, reason: format!("its file `{name}` is missing or damaged") })
    }
}

fn damaged_blob(path: &Path) -> Option<Damage> {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let reason = match (name.parse::<Digest>(), digest_file(path)) {
        (_, Err(e)) if e.kind() == io::ErrorKind::NotFound => return None,
        (Err(_), _) => "its name is not a digest".to_owned(),
        (_, Err(e)) => format!("cannot be read: {e}"),
        (Ok(digest), Ok(file)) if file.digest != digest => {
            format!("its {} bytes do not have the digest that it is named after", file.bytes)
        }
        _ => return None,
    };
    Some(Damage { path: path.to_owned(), reason })
}
