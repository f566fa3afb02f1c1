//! Reading everything again.

use std::{fmt, fs, path::PathBuf};

use oops_core::{Digest, Result};

use crate::{FileRef, Store, blobs::digest_file, record::entries};

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
    /// Reads every blob and record and compares them with their names. Damaged ones are moved to `damaged/`, so that
    /// the next run makes them again. Returns the number of files read and the damage.
    pub fn verify(&self) -> Result<(usize, Vec<Damage>)> {
        let mut blobs: Vec<PathBuf> = entries(&self.root.join("blobs")).iter().flat_map(|d| entries(d)).collect();
        blobs.sort();
        let records = self.records().len();
        let mut damage: Vec<Damage> = blobs.iter().filter_map(damaged_blob).collect();
        self.take_out(&damage)?;
        // Records come second: one that refers to a blob that was just taken out is damaged too.
        let lost: Vec<Damage> = self.records().into_iter().filter_map(|(p, r)| self.damaged_record(p, r)).collect();
        self.take_out(&lost)?;
        damage.extend(lost);
        Ok((blobs.len() + records, damage))
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

fn damaged_blob(path: &PathBuf) -> Option<Damage> {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let reason = match (name.parse::<Digest>(), digest_file(path)) {
        (Err(_), _) => "its name is not a digest".to_owned(),
        (_, Err(e)) => format!("cannot be read: {e}"),
        (Ok(digest), Ok(file)) if file.digest != digest => {
            let bytes = fs::metadata(path).map(|m| m.len()).unwrap_or_default();
            format!("its {bytes} bytes do not have the digest that it is named after")
        }
        _ => return None,
    };
    Some(Damage { path: path.clone(), reason })
}
