//! What was done before: earlier runs of a pipeline, and everything that was published.

use std::{fs, path::Path};

use crate::{Record, RunLog, Store, record::entries};

impl Store {
    /// Runs of a pipeline, newest first; damaged logs are left out.
    pub fn past_runs(&self, pipeline: &Path) -> Vec<RunLog> {
        let mut files = entries(&self.run_folder(pipeline));
        files.sort();
        let log = |file| serde_json::from_slice(&fs::read(file).ok()?).ok();
        files.iter().rev().filter_map(log).collect()
    }

    /// All records that can be read, sorted by key; their files may be gone.
    pub fn published(&self) -> Vec<Record> {
        self.records().unwrap_or_default().into_iter().filter_map(|(_, record)| record.ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_come_newest_first_without_damaged_ones() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        let pipeline = Path::new("p.yaml");
        for overrides in [vec!["a".to_owned()], vec!["b".to_owned()]] {
            store.log_run(&RunLog { pipeline: pipeline.into(), overrides, ..RunLog::default() }).unwrap();
        }
        fs::write(store.run_folder(pipeline).join("00000000000000000001.json"), "{").unwrap();
        let overrides: Vec<_> = store.past_runs(pipeline).into_iter().flat_map(|r| r.overrides).collect();
        assert_eq!(overrides, ["b", "a"]);
        assert!(store.published().is_empty());
    }
}
