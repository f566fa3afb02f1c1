//! Finding the result of a stage whose inputs are known.

use std::collections::BTreeMap;

use oops_artifact::{Artifact, Entry, Tree};
use oops_core::{Digest, Result};
use oops_stage::{Source, SourceFile};
use oops_store::{FileRef, Lookup, Record, RunLog};

use crate::{Event, Reason, Session, key::preimage, reason::changes};

/// A stage whose result is in the store.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The action key.
    pub key: Digest,
    /// What was recorded.
    pub record: Record,
    /// The files.
    pub artifact: Artifact,
}

/// A stage whose inputs are known.
#[derive(Clone)]
pub(crate) struct Action {
    pub(crate) key: Digest,
    pub(crate) preimage: String,
    pub(crate) sources: Vec<SourceFile>,
}

pub(crate) type Results = BTreeMap<usize, Resolved>;

impl Session<'_> {
    /// The action of node `i`; none while an input has no result.
    pub(crate) fn action(&self, i: usize, results: &Results) -> Result<Option<Action>> {
        self.action_with(i, &|j| results.get(&j).map(|r| r.artifact.digest()), &mut |source| self.source(source))
    }

    /// The action of node `i` whose inputs and files have these digests; none if an input has none.
    pub(crate) fn action_with(
        &self,
        i: usize,
        digest: &dyn Fn(usize) -> Option<Digest>,
        source: &mut dyn FnMut(&Source) -> Result<SourceFile>,
    ) -> Result<Option<Action>> {
        let node = &self.graph.nodes[i];
        let of = |list: &Vec<usize>| list.iter().map(|&j| digest(j)).collect::<Option<Vec<_>>>();
        let inputs = node.inputs.iter().map(|(port, list)| Some((*port, of(list)?))).collect::<Option<_>>();
        let Some(inputs) = inputs else { return Ok(None) };
        let sources = node.sources.iter().map(source).collect::<Result<Vec<_>>>()?;
        let preimage = preimage(node, self.graph, inputs, &sources)?;
        Ok(Some(Action { key: Digest::of(preimage.as_bytes()), preimage, sources }))
    }

    /// A file outside the store with its digest.
    pub(crate) fn source(&self, source: &Source) -> Result<SourceFile> {
        let reading = |bytes| self.observer.event(&Event::Reading { path: &source.path, bytes });
        let file = self.store.source(&source.path, reading)?;
        Ok(SourceFile { name: source.name.clone(), path: source.path.clone(), entry: entry(file) })
    }

    /// Looks an action up. `Err` says why there is no usable result; none if it never ran.
    pub(crate) fn find(&self, i: usize, key: &Digest) -> std::result::Result<Resolved, Option<String>> {
        match self.store.lookup(key) {
            Lookup::Miss => Err(None),
            Lookup::Damaged(reason) => Err(Some(reason)),
            Lookup::Hit(record) => self.resolved(i, *key, *record).map_err(Some),
        }
    }

    /// A record with its files; `Err` if one vanished.
    pub(crate) fn resolved(&self, i: usize, key: Digest, record: Record) -> std::result::Result<Resolved, String> {
        let locate = |(name, file): (&String, &FileRef)| match self.store.locate(file) {
            Some(path) => Ok((name.clone(), path)),
            None => Err(format!("its file `{name}` is missing")),
        };
        let paths = record.files.iter().map(locate).collect::<std::result::Result<_, _>>()?;
        let tree = Tree(record.files.iter().map(|(name, file)| (name.clone(), entry(*file))).collect());
        Ok(Resolved { key, artifact: Artifact { kind: self.graph.nodes[i].stage.output(), tree, paths }, record })
    }

    /// Why an action without a result has to run, given the last run of the pipeline.
    pub(crate) fn reason(&self, i: usize, action: &Action, last: Option<&RunLog>, damage: Option<String>) -> Reason {
        if let Some(damage) = damage {
            return Reason::Damaged(damage);
        }
        let Some(old) = last.and_then(|l| l.keys.get(&self.graph.nodes[i].name)) else { return Reason::New };
        if *old == action.key {
            return Reason::Gone;
        }
        match self.store.record(old) {
            Ok(Some(record)) => Reason::Changed(changes(&record.preimage, &action.preimage)),
            _ => Reason::New,
        }
    }
}

pub(crate) fn entry(file: FileRef) -> Entry {
    Entry { digest: file.digest, bytes: file.bytes }
}
