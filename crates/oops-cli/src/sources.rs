//! The source of every stage, so that a method that was changed under its old version is noticed: by the test below, and in
//! development builds at every result that another source made.
//!
//! The source of a stage is its file with the folder of that name, and what its crate has for all its stages; what lies in
//! other crates is not looked at. `sources.json` has, for the version of each stage, the sources that are known to give the
//! same bytes. After a change either raise `VERSION`, or not; `cargo xtask same-bytes` writes down which sources there are
//! now, and so says that stages whose version stayed give the bytes that they gave.

use std::collections::BTreeMap;

use oops_core::Result;
use oops_stage::{AnyStage, Registry, Revision};
use serde::{Deserialize, Serialize};

use crate::{docs, registry::stages};

include!(concat!(env!("OUT_DIR"), "/sources.rs"));

/// What is written down of each stage.
const RECORDED: &str = include_str!("../sources.json");

/// The sources of one version of a stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Version {
    version: u32,
    /// Digests, oldest first, of sources that give the same bytes.
    sources: Vec<String>,
}

fn recorded() -> BTreeMap<String, Version> {
    serde_json::from_str(RECORDED).unwrap_or_default()
}

/// All stages, each with the source that it was compiled from.
pub(crate) fn registry() -> Result<Registry> {
    let sourced = |mut stage: Box<dyn AnyStage>| {
        if let Some(revision) = revision(stage.name(), stage.version()) {
            stage.set_revision(revision);
        }
        stage
    };
    Registry::new(stages().map(sourced))
}

/// The source of a stage of this version.
fn revision(stage: &str, version: u32) -> Option<Revision> {
    let digest = digest(stage)?;
    let same = recorded().remove(stage).filter(|r| r.version == version).map(|r| r.sources).unwrap_or_default();
    Some(Revision { digest, same })
}

/// Digest of a stage's source.
fn digest(stage: &str) -> Option<String> {
    let (_, path) = docs::files().find(|(name, _)| *name == stage)?;
    let (of_crate, _) = path.split_once('/')?;
    let others = || docs::files().filter(|(name, _)| *name != stage);
    let counts = |file: &str| {
        file.starts_with(&format!("{of_crate}/")) && (owns(path, file) || !others().any(|(_, other)| owns(other, file)))
    };
    let bytes = FILES
        .iter()
        .filter(|(file, _)| counts(file))
        .flat_map(|(file, digest)| file.bytes().chain(digest.to_le_bytes()));
    let sum = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |h, byte| (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    Some(format!("{sum:016x}"))
}

/// Whether a file belongs to the stage whose file is `path`: it is that, or lies in the folder of that name.
fn owns(path: &str, file: &str) -> bool {
    let folder = path.strip_suffix("mod.rs").map_or_else(|| path.replace(".rs", "/"), str::to_owned);
    path == file || file.starts_with(&folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Set by `cargo xtask same-bytes`.
    const WRITE: &str = "OOPS_SAME_BYTES";
    /// Sources that are kept per stage.
    const KEPT: usize = 20;

    #[test]
    fn every_change_of_a_stage_raises_its_version_or_is_said_to_give_the_same_bytes() {
        let mut known = recorded();
        let (mut now, mut changed) = (BTreeMap::new(), Vec::new());
        for stage in registry().unwrap().iter() {
            let digest = digest(stage.name()).unwrap_or_else(|| panic!("{} has no source", stage.name()));
            let old = known.remove(stage.name()).filter(|old| old.version == stage.version());
            let mut entry = old.unwrap_or(Version { version: stage.version(), sources: Vec::new() });
            if !entry.sources.contains(&digest) {
                changed.push(format!("{} (version {})", stage.name(), stage.version()));
                entry.sources.push(digest);
            }
            entry.sources = entry.sources.split_off(entry.sources.len().saturating_sub(KEPT));
            now.insert(stage.name().to_owned(), entry);
        }
        if std::env::var_os(WRITE).is_some() {
            let text = serde_json::to_string_pretty(&now).unwrap() + "\n";
            return std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/sources.json"), text).unwrap();
        }
        assert!(
            changed.is_empty() && known.is_empty(),
            "the source of these stages changed: {}. Raise VERSION where the same inputs would give other bytes, then say \
             `cargo xtask same-bytes`",
            changed.join(", ")
        );
    }

    #[test]
    fn a_stage_is_its_own_file_with_its_folder_and_what_its_crate_shares() {
        assert!(owns("oops-select/src/methods/qp.rs", "oops-select/src/methods/qp/program.rs"));
        assert!(owns("oops-export/src/hf/mod.rs", "oops-export/src/hf/form.rs"));
        assert!(!owns("oops-select/src/methods/qp.rs", "oops-select/src/methods/owl.rs"));
        let all: Vec<String> = docs::files().filter_map(|(stage, _)| digest(stage)).collect();
        let distinct: std::collections::BTreeSet<&String> = all.iter().collect();
        assert_eq!((all.len(), distinct.len()), (docs::files().count(), all.len()));
    }
}
