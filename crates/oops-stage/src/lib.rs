//! The stage contract. A stage is a pure function with a name and a version: typed parameters, named inputs, one
//! output artifact. [`Stage::check`] sees only facts and runs over the whole graph before any tensor is loaded;
//! [`Stage::run`] does the work and touches nothing but its arguments and [`Cx`]. [`AnyStage`] is its erased twin, and
//! a [`Registry`] is the list of stages that a binary offers.

mod cpu;
mod cx;
mod erased;
mod facts;
mod memory;
mod needs;
mod path;
mod registry;
mod revision;
mod workdir;

pub use cpu::vectors;
pub use cx::{Cx, NoProgress, Progress, timed};
pub use erased::{AnyStage, erase};
pub use facts::{Facts, Form, PortFacts, TokensFacts};
pub use memory::{available_bytes, peak_rss_bytes, reset_peak_rss, rss_bytes};
pub use needs::{Needs, Sizes};
pub use path::expand;
pub use registry::Registry;
pub use revision::Revision;
pub use workdir::{Finished, Workdir};

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use oops_artifact::{Artifact, Entry, Kind};
use oops_core::{Fault, Result};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

/// How many artifacts a port takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// Exactly one.
    One,
    /// None or one.
    Optional,
    /// One or more, in order.
    Many,
}

/// A named input.
#[derive(Clone, Copy, Debug)]
pub struct Port {
    /// Name in the pipeline file.
    pub name: &'static str,
    /// The kind it takes.
    pub kind: Kind,
    /// How many it takes.
    pub arity: Arity,
}

impl Port {
    /// A port that takes exactly one artifact.
    pub const fn one(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, arity: Arity::One }
    }

    /// A port that may stay open.
    pub const fn optional(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, arity: Arity::Optional }
    }

    /// A port that takes a list.
    pub const fn many(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, arity: Arity::Many }
    }
}

/// A file outside the store that a stage reads. Its digest is part of the action key, its path is not.
#[derive(Clone, Debug)]
pub struct Source {
    /// Name inside the artifact.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
}

impl Source {
    /// The path that a parameter stands for: home folder and variables put in ([`expand`]), relative to `base`.
    pub fn resolve(base: &Path, path: &str) -> Result<PathBuf> {
        path::resolve(base, path)
    }
}

/// A [`Source`] with its digest, as the engine hands it to [`Stage::run`].
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// Name inside the artifact.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
    /// Digest and length of the content.
    pub entry: Entry,
}

/// What a stage gets to work on.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// Artifacts by port.
    pub ports: BTreeMap<String, Vec<Artifact>>,
    /// Files outside the store.
    pub sources: Vec<SourceFile>,
}

impl Inputs {
    /// The artifact of a port of arity one.
    pub fn one(&self, port: &str) -> Result<&Artifact> {
        self.optional(port).ok_or_else(|| Fault::internal(format!("input `{port}` is not connected")))
    }

    /// The artifact of an optional port.
    pub fn optional(&self, port: &str) -> Option<&Artifact> {
        self.many(port).first()
    }

    /// The artifacts of a port, in order.
    pub fn many(&self, port: &str) -> &[Artifact] {
        self.ports.get(port).map_or(&[], Vec::as_slice)
    }
}

/// A stage: a pure function from parameters and inputs to one artifact.
pub trait Stage: Send + Sync + 'static {
    /// Parameters: every field has a default or is required, unknown fields are refused, each field's doc states its
    /// unit.
    type Params: Serialize + DeserializeOwned + JsonSchema;
    /// Name in pipeline files, `family.method`.
    const NAME: &'static str;
    /// Algorithm version; raised whenever the same inputs would give other bytes, with a line in CHANGELOG.md.
    const VERSION: u32;
    /// One line for `oops stages`.
    const ABOUT: &'static str;
    /// Named inputs.
    const INPUTS: &'static [Port];
    /// Kind of the output.
    const OUTPUT: Kind;
    /// Whether the pipeline's seed changes the output (only then is it part of the key).
    const SEEDED: bool = false;
    /// Whether forward passes of the stage compute on the pipeline's device (only then is it part of the key); everything
    /// else computes in host memory.
    const ON_DEVICE: bool = false;
    /// Parameters that change no byte of the output (where something lies, how often a run is checkpointed), and so are
    /// not part of the key.
    const UNKEYED: &'static [&'static str] = &[];

    /// Files outside the store that the stage reads; relative paths are relative to `base`.
    fn sources(_params: &Self::Params, _base: &Path) -> Result<Vec<Source>> {
        Ok(Vec::new())
    }

    /// Checks parameters against what is known of the inputs before anything runs, and says what is known of the
    /// output.
    fn check(params: &Self::Params, inputs: &PortFacts, sources: &[Source]) -> Result<Facts>;

    /// What a run will take, told from parameters and facts alone; the engine runs stages side by side by it.
    fn needs(_params: &Self::Params, _inputs: &PortFacts) -> Needs {
        Needs::default()
    }

    /// Does the work: reads `inputs`, writes files into `cx.work`.
    fn run(params: &Self::Params, inputs: &Inputs, cx: &Cx<'_>) -> Result<()>;
}
