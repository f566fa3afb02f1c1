//! Why a stage would run: every field of its action key that changed since the last run, and for inputs what changed
//! above them, down to the root causes. All of it comes from the preimages that records keep.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use oops_artifact::Tree;
use oops_core::{Digest, Fault, Result};
use oops_store::{Record, RunLog};
use serde_json::Value;

use crate::{
    Change, Planned, Session, State, plan,
    reason::changes,
    resolve::{Action, entry},
};

/// Runs that are searched for what an input was.
const RUNS: usize = 50;

/// A stage and what changed for it.
pub struct Explained {
    /// Index of the node.
    pub node: usize,
    /// Its action key; where an input is still to be made, only an identity.
    pub key: Digest,
    /// What was recorded when its result was made, if it is in the store.
    pub record: Option<Record>,
    /// Whether a run is known to compare with.
    pub known: bool,
    /// What changed; none if it was explained before (a second way leads to it), or nothing did.
    pub causes: Vec<Cause>,
    /// Whether it was explained before.
    pub repeated: bool,
}

/// Something that changed.
pub enum Cause {
    /// A parameter, the stage or its version, the seed, the kind of the output.
    Field(Change),
    /// A file outside the store.
    File {
        /// Name in the artifact.
        name: String,
        /// Where it lies now.
        path: Option<PathBuf>,
        /// Digest then; none if there was no such file.
        old: Option<Digest>,
        /// Digest now.
        new: Option<Digest>,
    },
    /// An input.
    Input(Input),
}

/// An input that is not what it was, or is still to be made.
pub struct Input {
    /// Name of the port.
    pub port: String,
    /// Position in the port's list, if it has several.
    pub place: Option<usize>,
    /// What it was.
    pub was: Option<Upstream>,
    /// What it is.
    pub now: Option<Upstream>,
    /// Why it is not what it was.
    pub why: Option<Box<Explained>>,
}

/// An instance upstream and its artifact.
pub struct Upstream {
    /// Name of the instance; none if no known run says it.
    pub name: Option<String>,
    /// Digest of the artifact; none if it is still to be made.
    pub digest: Option<Digest>,
}

/// Explains node `i`.
pub fn explain(session: Session<'_>, i: usize) -> Result<Explained> {
    let planned = plan(session, session.graph.with_ancestors([i]))?;
    let runs = session.store.past_runs(&session.graph.file).into_iter().map(|run| run.log).take(RUNS).collect();
    let explainer = Explainer {
        session,
        planned: planned.into_iter().map(|p| (p.node, p)).collect(),
        runs,
        records: RefCell::default(),
        told: RefCell::default(),
    };
    explainer.node(i, explainer.last(i))
}

struct Explainer<'a> {
    session: Session<'a>,
    planned: BTreeMap<usize, Planned>,
    runs: Vec<RunLog>,
    records: RefCell<BTreeMap<Digest, Option<Record>>>,
    told: RefCell<BTreeSet<usize>>,
}

impl Explainer<'_> {
    /// Explains node `i` against the record of an earlier run.
    fn node(&self, i: usize, old: Option<Record>) -> Result<Explained> {
        let lost = || Fault::internal("a stage that was not planned");
        let planned = self.planned.get(&i).ok_or_else(lost)?;
        let record = if let State::Cached(found) = &planned.state { Some(found.record.clone()) } else { None };
        let repeated = !self.told.borrow_mut().insert(i);
        let causes = if repeated { Vec::new() } else { self.causes(i, old.as_ref())? };
        Ok(Explained { node: i, key: planned.identity, record, known: old.is_some(), causes, repeated })
    }

    fn causes(&self, i: usize, old: Option<&Record>) -> Result<Vec<Cause>> {
        let digest = |j: usize| self.digest(j).or_else(|| Some(self.planned.get(&j)?.identity));
        let action = self.session.action_with(i, &digest, &mut |source| self.session.source(source))?;
        let action = action.ok_or_else(|| Fault::internal("an input that was not planned"))?;
        // Without a run to compare with, only what is still to be made is worth telling.
        let Some(old) = old else { return self.to_be_made(i) };
        let mut causes = Vec::new();
        for change in changes(&old.preimage, &action.preimage) {
            match change.field.split_once('.') {
                Some(("inputs", port)) => causes.extend(self.inputs(i, port, &change)?.into_iter().map(Cause::Input)),
                Some(("sources", name)) => causes.push(file(name, &change, &action)),
                _ => causes.push(Cause::Field(change)),
            }
        }
        // What is nearest comes first.
        causes.sort_by_key(|cause| match cause {
            Cause::Field(_) => 0,
            Cause::File { .. } => 1,
            Cause::Input(_) => 2,
        });
        Ok(causes)
    }

    /// Inputs of a stage without history that have no result yet.
    fn to_be_made(&self, i: usize) -> Result<Vec<Cause>> {
        let mut causes = Vec::new();
        for (port, list) in &self.session.graph.nodes[i].inputs {
            for (k, &j) in list.iter().enumerate().filter(|(_, j)| self.digest(**j).is_none()) {
                let (place, why) = ((list.len() > 1).then_some(k), Some(Box::new(self.node(j, self.last(j))?)));
                causes.push(Cause::Input(Input {
                    port: (*port).to_owned(),
                    place,
                    was: None,
                    now: Some(self.now(j)),
                    why,
                }));
            }
        }
        Ok(causes)
    }

    /// Entries of a port that are not what they were.
    fn inputs(&self, i: usize, port: &str, change: &Change) -> Result<Vec<Input>> {
        let list = |v: &Value| -> Vec<Digest> {
            let items = v.as_array().into_iter().flatten().filter_map(Value::as_str);
            items.filter_map(|d| d.parse().ok()).collect()
        };
        let (old, new) = (list(&change.old), list(&change.new));
        let ports = &self.session.graph.nodes[i].inputs;
        let nodes: &[usize] = ports.iter().find(|(p, _)| *p == port).map_or(&[], |(_, list)| list.as_slice());
        let several = old.len().max(new.len()) > 1;
        let mut out = Vec::new();
        for k in (0..old.len().max(new.len())).filter(|&k| old.get(k) != new.get(k)) {
            let (was, now) = (old.get(k).copied(), nodes.get(k).copied());
            let before = was.and_then(|digest| self.maker(&digest, now));
            let why = now.map(|j| self.why(j, before.as_ref())).transpose()?.flatten().map(Box::new);
            let was = was.map(|digest| Upstream { name: before.map(|b| b.0), digest: Some(digest) });
            let (port, place) = (port.to_owned(), several.then_some(k));
            out.push(Input { port, place, was, now: now.map(|j| self.now(j)), why });
        }
        Ok(out)
    }

    /// Why what node `j` makes is not what the input was. Nothing, if that came from an instance that is still there.
    fn why(&self, j: usize, before: Option<&(String, Record)>) -> Result<Option<Explained>> {
        let graph = self.session.graph;
        match before {
            Some((name, _)) if *name != graph.nodes[j].name && graph.nodes.iter().any(|n| n.name == *name) => {
                if self.digest(j).is_some() { Ok(None) } else { self.node(j, self.last(j)).map(Some) }
            }
            Some((_, record)) => self.node(j, Some(record.clone())).map(Some),
            None => self.node(j, self.last(j)).map(Some),
        }
    }

    fn now(&self, j: usize) -> Upstream {
        Upstream { name: Some(self.session.graph.nodes[j].name.clone()), digest: self.digest(j) }
    }

    /// Digest of the result of node `j`.
    fn digest(&self, j: usize) -> Option<Digest> {
        match &self.planned.get(&j)?.state {
            State::Cached(found) => Some(found.artifact.digest()),
            _ => None,
        }
    }

    /// Record of the last run of node `i`.
    fn last(&self, i: usize) -> Option<Record> {
        self.record(self.runs.first()?.keys.get(&self.session.graph.nodes[i].name)?)
    }

    /// Which instance of an earlier run made an artifact, and how; one of the name of node `now` before others.
    fn maker(&self, digest: &Digest, now: Option<usize>) -> Option<(String, Record)> {
        let name = now.map(|j| self.session.graph.nodes[j].name.as_str());
        let all = || self.runs.iter().flat_map(|r| &r.keys);
        let same = all().filter(|(n, _)| Some(n.as_str()) == name);
        let mut made = same.chain(all()).filter_map(|(n, key)| Some((n.clone(), self.record(key)?)));
        made.find(|(_, record)| tree(record).digest() == *digest)
    }

    fn record(&self, key: &Digest) -> Option<Record> {
        let read = || self.session.store.record(key).ok().flatten();
        self.records.borrow_mut().entry(*key).or_insert_with(read).clone()
    }
}

fn file(name: &str, change: &Change, action: &Action) -> Cause {
    let digest = |v: &Value| v.as_str().and_then(|d| d.parse().ok());
    let path = action.sources.iter().find(|s| s.name == name).map(|s| s.path.clone());
    Cause::File { name: name.to_owned(), path, old: digest(&change.old), new: digest(&change.new) }
}

/// The files of a record's result.
fn tree(record: &Record) -> Tree {
    Tree(record.files.iter().map(|(name, file)| (name.clone(), entry(*file))).collect())
}
