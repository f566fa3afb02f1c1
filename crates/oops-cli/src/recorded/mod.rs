//! What the store remembers of runs: results by instance name, with what each was made from.

mod figures;
mod reference;
mod texts;

use std::{collections::BTreeMap, path::Path};

use oops_artifact::{Artifact, Entry as File, Kind, Tree};
use oops_core::{Digest, Fault, Result, nearest};
use oops_engine::{Resolved, Session, Silent, State};
use oops_pipeline::Graph;
use oops_store::{Record, RunLog, Store};
use serde::Deserialize;
use serde_json::Value;

pub(crate) use figures::{Figure, figures};
pub(crate) use reference::{find as find_run, named as is_run};
pub(crate) use texts::Texts;

use crate::platform::CANCEL;

/// What a result was made from: the part of the action key that people read.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Made {
    pub(crate) stage: String,
    pub(crate) version: u64,
    pub(crate) params: Value,
    pub(crate) inputs: BTreeMap<String, Vec<Digest>>,
    pub(crate) sources: BTreeMap<String, Digest>,
    pub(crate) seed: Option<u64>,
}

/// A result.
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) key: Digest,
    pub(crate) record: Record,
    pub(crate) artifact: Artifact,
    pub(crate) made: Made,
}

/// Results of one run, inputs first.
pub(crate) struct Shelf {
    /// How the user called it.
    pub(crate) title: String,
    pub(crate) entries: Vec<Entry>,
    /// Instances whose results are no longer, or not yet, in the store.
    pub(crate) missing: Vec<String>,
    /// Names of texts.
    pub(crate) texts: Texts,
}

impl Entry {
    fn new(name: &str, key: Digest, record: Record, artifact: Artifact) -> Result<Self> {
        let made = serde_json::from_str(&record.preimage)
            .map_err(|e| Fault::store(format!("the record of `{name}` says not what it was made from: {e}")))?;
        Ok(Self { name: name.to_owned(), key, record, artifact, made })
    }

    /// Digests of its inputs, port by port.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = &Digest> {
        self.made.inputs.values().flatten()
    }
}

impl Shelf {
    /// What a recorded run resolved to.
    pub(crate) fn of_run(store: &Store, title: &str, log: &RunLog) -> Result<Self> {
        let (title, texts) = (title.to_owned(), Texts::default());
        let mut shelf = Self { title, entries: Vec::new(), missing: Vec::new(), texts };
        for (name, key) in log.own_keys() {
            // A damaged record is a missing one, as everywhere.
            let record = store.record(&key).ok().flatten();
            let found = record.and_then(|r| Some((artifact(store, &r)?, r)));
            match found {
                Some((artifact, record)) => {
                    shelf.texts.add(&record, Vec::new());
                    shelf.entries.push(Entry::new(&name, key, record, artifact)?);
                }
                None => shelf.missing.push(name),
            }
        }
        shelf.entries = inputs_first(shelf.entries);
        Ok(shelf)
    }

    /// What is in the store for some nodes (with their inputs) of a checked graph.
    pub(crate) fn of_graph(
        store: &Store,
        title: &str,
        graph: &Graph<'_>,
        needed: impl IntoIterator<Item = usize>,
    ) -> Result<Self> {
        let session = Session { graph, store, observer: &Silent, cancel: &CANCEL };
        let (mut found, mut missing) = (BTreeMap::new(), Vec::new());
        for planned in oops_engine::plan(session, needed)? {
            match planned.state {
                State::Cached(resolved) => drop(found.insert(planned.node, *resolved)),
                _ => missing.push(graph.nodes[planned.node].name.clone()),
            }
        }
        Ok(Self { title: title.to_owned(), missing, ..Self::of_results(graph, &found)? })
    }

    /// What a walk resolved.
    pub(crate) fn of_results(graph: &Graph<'_>, results: &BTreeMap<usize, Resolved>) -> Result<Self> {
        let entry = |(i, r): (&usize, &Resolved)| {
            Entry::new(&graph.nodes[*i].name, r.key, r.record.clone(), r.artifact.clone())
        };
        Ok(Self {
            title: String::new(),
            entries: results.iter().map(entry).collect::<Result<_>>()?,
            missing: Vec::new(),
            texts: Texts::of_graph(graph, results),
        })
    }

    /// The result of an instance.
    pub(crate) fn get(&self, name: &str) -> Result<&Entry> {
        self.entries.iter().find(|e| e.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.entries.iter().map(|e| e.name.as_str()).collect();
            if self.missing.iter().any(|m| m == name) {
                return Fault::data(format!("the result of `{name}` is not in the store"))
                    .help("run the pipeline again to make it");
            }
            let near = nearest(name, names.iter().copied()).map(|n| format!("did you mean `{n}`? "));
            Fault::config(format!("no stage of the run is called `{name}`")).help(format!(
                "{}stages: {}",
                near.unwrap_or_default(),
                names.join(", ")
            ))
        })
    }

    /// The first instance whose result has this digest.
    pub(crate) fn by_digest(&self, digest: &Digest) -> Option<&Entry> {
        self.entries.iter().find(|e| e.artifact.digest() == *digest)
    }

    /// Name of the instance whose result has this digest; else the digest's first digits.
    pub(crate) fn label(&self, digest: &Digest) -> String {
        self.by_digest(digest).map_or_else(|| digest.short(), |e| e.name.clone())
    }

    /// What an entry was made from, directly or not, inputs first, the entry itself last.
    pub(crate) fn ancestry<'s>(&'s self, entry: &'s Entry) -> Vec<&'s Entry> {
        let mut wanted: Vec<Digest> = vec![entry.artifact.digest()];
        let mut out = Vec::new();
        for e in self.entries.iter().rev().skip_while(|e| e.name != entry.name) {
            if wanted.contains(&e.artifact.digest()) {
                wanted.extend(e.inputs());
                out.push(e);
            }
        }
        out.reverse();
        out
    }
}

/// The artifact of a record; none if its kind is unknown or a file is gone.
fn artifact(store: &Store, record: &Record) -> Option<Artifact> {
    let kind: Kind = serde_json::from_value(Value::from(record.kind.as_str())).ok()?;
    let paths = record.files.iter().map(|(name, f)| Some((name.clone(), store.locate(f)?))).collect::<Option<_>>()?;
    let file = |(name, f): (&String, &oops_store::FileRef)| (name.clone(), File { digest: f.digest, bytes: f.bytes });
    Some(Artifact { kind, tree: Tree(record.files.iter().map(file).collect()), paths })
}

/// Orders entries so that each comes behind those that it was made from.
fn inputs_first(mut left: Vec<Entry>) -> Vec<Entry> {
    let mut out: Vec<Entry> = Vec::new();
    while !left.is_empty() {
        let waits = |e: &Entry| left.iter().any(|o| o.key != e.key && e.inputs().any(|d| *d == o.artifact.digest()));
        // Results that are each other's bytes cannot be ordered by them; any order will do.
        let next = left.iter().position(|e| !waits(e)).unwrap_or(0);
        out.push(left.remove(next));
    }
    out
}

/// A path as people read it: relative to the current folder where it lies below it.
pub(crate) fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}
