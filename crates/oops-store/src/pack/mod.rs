//! Results as one file, to carry them to another machine: a plain tar archive (`tar tf` lists it) with a manifest, the
//! records and the blobs, in an order and with headers that follow from the manifest alone. Equal results give equal
//! bytes, and whatever is not byte for byte what the manifest promises is refused.
//!
//! ```text
//! oops-cache.json          format, keys of the records, digests and lengths of everything
//! actions/<key>.json       by key
//! blobs/<digest>           by digest
//! ```

mod export;
mod import;
#[cfg(test)]
mod tests;
mod ustar;

pub use export::Packed;
pub use import::Imported;

use oops_core::Digest;
use serde::{Deserialize, Serialize};

use crate::FileRef;

/// Raised when the layout changes.
const FORMAT: &str = "oops-cache/1";
const MANIFEST: &str = "oops-cache.json";
/// Longest manifest or record that is read; real ones have kilobytes.
const LONGEST_TEXT: u64 = 64 << 20;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    format: String,
    /// Sorted by key.
    records: Vec<RecordRef>,
    /// Sorted by digest.
    files: Vec<FileRef>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordRef {
    key: Digest,
    /// Of the record's text.
    digest: Digest,
    bytes: u64,
}

impl Manifest {
    /// Length of the whole archive whose manifest has `own` bytes; none if no file can be that long.
    fn archive_bytes(&self, own: u64) -> Option<u64> {
        let lengths = self.records.iter().map(|r| r.bytes).chain(self.files.iter().map(|f| f.bytes));
        let sum = lengths.chain([own]).try_fold(0_u64, |sum, n| sum.checked_add(ustar::entry_bytes(n)?));
        sum?.checked_add(ustar::END)
    }
}

fn record_name(key: &Digest) -> String {
    format!("actions/{key}.json")
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/{digest}")
}
