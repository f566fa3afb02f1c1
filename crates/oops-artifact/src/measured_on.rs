//! Which model measurements were taken from.

use oops_core::{Digest, Result};
use serde::{Deserialize, Serialize};

use crate::{Artifact, Sink, json};

const FILE: &str = "measured-on.json";

/// What statistics or gradients were taken from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasuredOn {
    /// Digest of the model.
    pub model: Digest,
}

impl MeasuredOn {
    /// Writes it beside measurements of `model`.
    pub fn write(model: &Artifact, work: &dyn Sink) -> Result<()> {
        work.file(FILE, &mut |path| json::write(path, &Self { model: model.digest() }))
    }

    /// The text of a warning if `measured`, the input at `port`, was not taken from `model`: one of the same dimensions
    /// (a fine-tuned twin, say) would be taken without a word.
    pub fn warning(measured: Option<&Artifact>, port: &str, model: &Artifact) -> Result<Option<String>> {
        let Some(path) = measured.and_then(|m| m.paths.get(FILE)) else { return Ok(None) };
        let (from, to) = (json::read::<Self>(path)?.model, model.digest());
        Ok((from != to).then(|| {
            format!(
                "`{port}` were taken from another model ({}) than `model` ({}): connect a calibration of this model",
                from.short(),
                to.short()
            )
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{Entry, Kind, Tree};

    fn model(content: &[u8]) -> Artifact {
        let entry = Entry { digest: Digest::of(content), bytes: content.len() as u64 };
        Artifact { kind: Kind::Model, tree: Tree([("m".to_owned(), entry)].into()), paths: BTreeMap::new() }
    }

    #[test]
    fn measurements_of_a_twin_are_told() {
        let path = std::env::temp_dir().join(format!("oops-measured-on-{}.json", std::process::id()));
        json::write(&path, &MeasuredOn { model: model(b"a").digest() }).unwrap();
        let paths = BTreeMap::from([(FILE.to_owned(), path.clone())]);
        let stats = Artifact { kind: Kind::Stats, tree: Tree::default(), paths };
        assert_eq!(MeasuredOn::warning(Some(&stats), "stats", &model(b"a")).unwrap(), None);
        let warning = MeasuredOn::warning(Some(&stats), "stats", &model(b"b")).unwrap().unwrap();
        assert!(warning.starts_with("`stats` were taken from another model"), "{warning}");
        assert_eq!(MeasuredOn::warning(None, "stats", &model(b"b")).unwrap(), None);
        std::fs::remove_file(path).unwrap();
    }
}
