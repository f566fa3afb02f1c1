//! What each run of a pipeline resolved to: instance name → action key, and how it went. A run that found everything in
//! the store and resolved to what the last one did is not written down again.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use oops_core::{Digest, Fault, Result};
use serde::{Deserialize, Deserializer, Serialize};

use crate::{Store, fsio::list, record::entries};

/// One run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunLog {
    /// Path of the pipeline file.
    pub pipeline: PathBuf,
    /// Overrides of the command line.
    pub overrides: Vec<String>,
    /// Action key of each instance that was resolved, by this run or (for instances it did not need) an earlier one.
    pub keys: BTreeMap<String, Digest>,
    /// How it went; none in logs of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<RunOutcome>,
}

/// How a run went.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunOutcome {
    /// Instances that ran, in order.
    pub executed: Vec<String>,
    /// Instances whose results were in the store, inputs first.
    pub cached: Vec<String>,
    /// Instances that failed, and their messages.
    #[serde(deserialize_with = "failures")]
    pub failed: Vec<(String, String)>,
    /// Warnings of all instances that it used, with their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<(String, String)>,
    /// Seconds from start to end.
    pub wall_s: f64,
    /// Version of this program.
    pub program: String,
    /// Git revision of the folder it ran in, if any.
    pub revision: Option<String>,
}

/// A run as it was written down.
#[derive(Clone, Debug, PartialEq)]
pub struct LoggedRun {
    /// Short name, the same for ever: digits of the digest of the pipeline's path and the time.
    pub id: String,
    /// When it was written down, in microseconds since 1970 (UTC).
    pub at_unix_us: u64,
    /// What was written down.
    pub log: RunLog,
}

impl RunLog {
    /// Whether this run did nothing that `last` does not say already.
    fn repeats(&self, last: &Self) -> bool {
        let idle = |o: &RunOutcome| o.executed.is_empty() && o.failed.is_empty();
        let same = (&self.pipeline, &self.overrides, &self.keys) == (&last.pipeline, &last.overrides, &last.keys);
        same && self.outcome.as_ref().is_none_or(idle)
    }

    /// Keys of the instances that this run itself resolved.
    pub fn own_keys(&self) -> BTreeMap<String, Digest> {
        let own = |o: &RunOutcome, name: &String| o.executed.contains(name) || o.cached.contains(name);
        let kept = |name: &String| self.outcome.as_ref().is_none_or(|o| own(o, name));
        self.keys.iter().filter(|(name, _)| kept(name)).map(|(name, key)| (name.clone(), *key)).collect()
    }
}

impl RunOutcome {
    /// Names of what failed, if anything did.
    pub fn failed_names(&self) -> Option<String> {
        let names: Vec<_> = self.failed.iter().map(|(name, _)| name.as_str()).collect();
        (!names.is_empty()).then(|| names.join(","))
    }
}

/// A list; logs of older versions have the first one alone, or null.
fn failures<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<Vec<(String, String)>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Failed {
        All(Vec<(String, String)>),
        First((String, String)),
    }
    Ok(match Option::deserialize(from)? {
        None => Vec::new(),
        Some(Failed::All(list)) => list,
        Some(Failed::First(one)) => vec![one],
    })
}

impl Store {
    /// The last run of a pipeline; none if it never ran or its log is damaged.
    pub fn last_run(&self, pipeline: &Path) -> Option<RunLog> {
        let newest = entries(&self.run_folder(pipeline)).into_iter().max()?;
        serde_json::from_slice(&fs::read(newest).ok()?).ok()
    }

    /// All runs that were written down, newest first; damaged logs are left out.
    pub fn runs(&self) -> Vec<LoggedRun> {
        newest_first(&entries(&self.root.join("runs")))
    }

    /// Those of a pipeline.
    pub fn past_runs(&self, pipeline: &Path) -> Vec<LoggedRun> {
        newest_first(&[self.run_folder(pipeline)])
    }

    /// Writes a run down, unless it repeats the last one.
    pub fn log_run(&self, log: &RunLog) -> Result<()> {
        if self.last_run(&log.pipeline).is_some_and(|last| log.repeats(&last)) {
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

fn newest_first(folders: &[PathBuf]) -> Vec<LoggedRun> {
    let files = folders.iter().flat_map(|folder| entries(folder));
    let mut all: Vec<LoggedRun> = files.filter_map(|file| logged(&file)).collect();
    all.sort_by(|a, b| (b.at_unix_us, &b.id).cmp(&(a.at_unix_us, &a.id)));
    all
}

fn logged(file: &Path) -> Option<LoggedRun> {
    let at_unix_us = file.file_stem()?.to_str()?.parse().ok()?;
    let log: RunLog = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    let name = [log.pipeline.as_os_str().as_encoded_bytes(), format!("\n{at_unix_us}").as_bytes()].concat();
    Some(LoggedRun { id: Digest::of(&name).to_string()[..8].to_owned(), at_unix_us, log })
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
            outcome: None,
        };
        assert_eq!(store.last_run(Path::new("p.yaml")), None);
        for keys in [&["a"][..], &["a"], &["a", "b"], &["a"]] {
            store.log_run(&log(keys)).unwrap();
            assert_eq!(store.last_run(Path::new("p.yaml")), Some(log(keys)));
        }
        assert_eq!(entries(&store.run_folder(Path::new("p.yaml"))).len(), 3);
        assert_eq!(store.last_run(Path::new("other.yaml")), None);
    }

    #[test]
    fn runs_are_listed_newest_first_with_names_that_stay() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        let outcome = |executed: &[&str], cached: &[&str]| {
            let names = |list: &[&str]| list.iter().map(|n| (*n).to_owned()).collect();
            RunOutcome { executed: names(executed), cached: names(cached), ..RunOutcome::default() }
        };
        let keys = || ["a", "b"].map(|k| (k.to_owned(), Digest::of(k.as_bytes()))).into();
        for (pipeline, outcome) in [("p.yaml", outcome(&["a"], &[])), ("q.yaml", outcome(&["a"], &["b"]))] {
            let log = RunLog { pipeline: pipeline.into(), keys: keys(), outcome: Some(outcome), ..RunLog::default() };
            store.log_run(&log).unwrap();
        }
        // Nothing new: everything was in the store.
        let idle = RunLog { outcome: Some(outcome(&[], &["a", "b"])), ..store.runs()[0].log.clone() };
        store.log_run(&idle).unwrap();
        let runs = store.runs();
        let pipelines: Vec<_> = runs.iter().map(|r| r.log.pipeline.to_string_lossy().into_owned()).collect();
        assert_eq!(pipelines, ["q.yaml", "p.yaml"]);
        assert_eq!(runs[1].log.own_keys().into_keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(store.runs(), runs);
        assert_eq!(store.past_runs(Path::new("p.yaml")), runs[1..]);
        // A log of an older version has no outcome, a damaged one is passed over.
        let folder = store.run_folder(Path::new("p.yaml"));
        fs::write(folder.join("00000000000000000007.json"), r#"{"pipeline":"p.yaml","overrides":[],"keys":{}}"#)
            .unwrap();
        fs::write(folder.join("00000000000000000008.json"), "{").unwrap();
        let last = store.runs().pop().unwrap();
        assert_eq!((last.at_unix_us, &last.log.outcome), (7, &None));
        let older = |failed: &str| -> RunOutcome {
            let text = format!(
                r#"{{"executed":[],"cached":[],"failed":{failed},"wall_s":1.0,"program":"0.1.0","revision":null}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        assert_eq!(older("null").failed_names(), None);
        assert_eq!(older(r#"["a","it broke"]"#).failed_names().unwrap(), "a");
        assert_eq!(older(r#"[["a","it broke"],["b","too"]]"#).failed_names().unwrap(), "a,b");
    }
}
