//! What each run of a pipeline resolved to: instance name → action key. Only changes are written down.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use oops_core::{Digest, Fault, Result};
use serde::{Deserialize, Serialize};

use crate::{Store, fsio::list, record::entries};

/// One run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunLog {
    /// Path of the pipeline file.
    pub pipeline: PathBuf,
    /// Overrides of the command line.
    pub overrides: Vec<String>,
    /// Action key of each instance that was resolved.
    pub keys: BTreeMap<String, Digest>,
}

impl Store {
    /// The last run of a pipeline; none if it never ran or its log is damaged.
    pub fn last_run(&self, pipeline: &Path) -> Option<RunLog> {
        let newest = entries(&self.run_folder(pipeline)).into_iter().max()?;
        serde_json::from_slice(&fs::read(newest).ok()?).ok()
    }

    /// Writes a run down, unless it equals the last one.
    pub fn log_run(&self, log: &RunLog) -> Result<()> {
        if self.last_run(&log.pipeline).as_ref() == Some(log) {
            return Ok(());
        }
        let text = serde_json::to_vec_pretty(log).map_err(|e| Fault::internal(format!("run log: {e}")))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        self.write_whole(&self.run_folder(&log.pipeline).join(format!("{now:020}.json")), &text)
    }

    /// The log files of all runs of all pipelines.
    pub(crate) fn run_logs(&self) -> Result<Vec<PathBuf>> {
        let folders = list(&self.root.join("runs"))?;
        Ok(folders.iter().map(|f| list(f)).collect::<Result<Vec<_>>>()?.concat())
    }

    pub(crate) fn run_folder(&self, pipeline: &Path) -> PathBuf {
        self.root.join("runs").join(Digest::of(pipeline.as_os_str().as_encoded_bytes()).short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_are_written_down() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        let log = |keys: &[&str]| RunLog {
            pipeline: PathBuf::from("p.yaml"),
            overrides: Vec::new(),
            keys: keys.iter().map(|k| ((*k).to_owned(), Digest::of(k.as_bytes()))).collect(),
        };
        assert_eq!(store.last_run(Path::new("p.yaml")), None);
        for keys in [&["a"][..], &["a"], &["a", "b"], &["a"]] {
            store.log_run(&log(keys)).unwrap();
            assert_eq!(store.last_run(Path::new("p.yaml")), Some(log(keys)));
        }
        assert_eq!(entries(&store.run_folder(Path::new("p.yaml"))).len(), 3);
        assert_eq!(store.last_run(Path::new("other.yaml")), None);
    }
}
