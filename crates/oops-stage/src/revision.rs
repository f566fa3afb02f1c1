//! The source that a stage was compiled from: what a record made by it remembers, so that a method that was changed under
//! its old version is noticed.

/// The source of a stage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revision {
    /// Digest of the source that this program was compiled from.
    pub digest: String,
    /// Digests of earlier sources of this version that are known to give the same bytes.
    pub same: Vec<String>,
}

impl Revision {
    /// Whether a source with this digest is known to give the bytes that this one gives.
    pub fn gives_bytes_of(&self, other: &str) -> bool {
        let known = |digest: &str| self.same.iter().any(|d| d == digest);
        self.digest == other || (known(&self.digest) && known(other))
    }
}
