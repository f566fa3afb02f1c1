//! Names of texts. Results hold digests of texts and no names, so that a renamed file is the same text; the names come
//! from the pipeline that is open, or else from when the text was tokenised.

use std::{collections::BTreeMap, path::Path};

use oops_artifact::text_digest;
use oops_core::Digest;
use oops_engine::Resolved;
use oops_pipeline::Graph;
use oops_report::{named_protocol, protocol_texts};
use oops_store::Record;
use serde_json::{Map, Value};

use super::Made;

/// The stage that reads texts.
const STAGE: &str = "source.text";

/// Names of texts by digest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Texts(BTreeMap<Digest, String>);

impl Texts {
    /// Names of the files that the stages of a graph read now.
    pub(crate) fn of_graph(graph: &Graph<'_>, results: &BTreeMap<usize, Resolved>) -> Self {
        let mut texts = Self::default();
        for (i, result) in results {
            let files = graph.nodes[*i].sources.iter().map(|s| s.path.as_path()).collect();
            texts.add(&result.record, files);
        }
        texts
    }

    /// Adds the text that a record is of, if it is of one: by the names of its `files`, or those it had when it was read.
    pub(crate) fn add(&mut self, record: &Record, files: Vec<&Path>) {
        let Ok(made) = serde_json::from_str::<Made>(&record.preimage) else { return };
        if made.stage != STAGE {
            return;
        }
        let digests: Vec<Digest> = made.sources.into_values().collect();
        let then = record.measured.get("text").and_then(Value::as_str).map(str::to_owned);
        let now = (!files.is_empty()).then(|| oops_source::text_name(files));
        if let Some(name) = now.or(then) {
            self.0.insert(text_digest(&digests), name);
        }
    }

    /// What a text made of these is called.
    pub(crate) fn name(&self, digests: &[Digest]) -> String {
        let one = |d: &Digest| self.0.get(d).cloned().unwrap_or_else(|| format!("text {}", d.short()));
        digests.iter().map(one).collect::<Vec<_>>().join(" + ")
    }

    /// A protocol with the name of its text.
    pub(crate) fn named(&self, protocol: &Map<String, Value>) -> Map<String, Value> {
        named_protocol(protocol, &self.name(&protocol_texts(protocol)))
    }
}
