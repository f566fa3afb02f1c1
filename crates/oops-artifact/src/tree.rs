//! A tree names the files of an artifact by digest; an [`Artifact`] also knows where they lie right now.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use oops_core::{Digest, Fault, Result};
use serde::{Deserialize, Serialize};

use crate::Kind;

/// One file of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Digest of the content.
    pub digest: Digest,
    /// Length in bytes.
    pub bytes: u64,
}

/// The files of an artifact: relative path → entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tree(pub BTreeMap<String, Entry>);

impl Tree {
    /// Digest of the tree: of its paths, digests and lengths, nothing else.
    pub fn digest(&self) -> Digest {
        let lines: Vec<String> = self.0.iter().map(|(p, e)| format!("{} {} {p}", e.digest, e.bytes)).collect();
        Digest::of(format!("oops.tree/1\n{}\n", lines.join("\n")).as_bytes())
    }

    /// Sum of the files' lengths.
    pub fn bytes(&self) -> u64 {
        self.0.values().map(|e| e.bytes).sum()
    }
}

/// An artifact whose files can be opened.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// What it is.
    pub kind: Kind,
    /// Its files by digest.
    pub tree: Tree,
    /// Where each file lies: relative path in the tree → path on this machine.
    pub paths: BTreeMap<String, PathBuf>,
}

impl Artifact {
    /// Digest of the content.
    pub fn digest(&self) -> Digest {
        self.tree.digest()
    }

    /// Where the file `name` lies; a fault if the artifact has no such file.
    pub fn path(&self, name: &str) -> Result<&Path> {
        self.paths.get(name).map(PathBuf::as_path).ok_or_else(|| {
            Fault::data(format!("the {} artifact has no file `{name}`", self.kind))
                .help("it was written by another version of this program: run its stage again with --force")
        })
    }
}
