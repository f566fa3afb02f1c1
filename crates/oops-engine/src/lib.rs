//! Walks a graph of stages: key, look up, run, publish.

mod events;
mod key;
mod plan;
mod provenance;
mod reason;
mod resolve;
mod selection;
mod stage_run;
mod sweep;
mod walk;

pub use events::{Event, Observer, Silent};
pub use plan::{Planned, State, artifact, plan};
pub use reason::{Change, Reason, changes};
pub use resolve::Resolved;
pub use selection::Selection;
pub use sweep::{Job, run_all};
pub use walk::{Outcome, run};

use std::sync::atomic::AtomicBool;

use oops_pipeline::Graph;
use oops_store::Store;

/// What a walk works with.
#[derive(Clone, Copy)]
pub struct Session<'a> {
    /// The checked pipeline.
    pub graph: &'a Graph<'a>,
    /// Where results are.
    pub store: &'a Store,
    /// Who hears about progress.
    pub observer: &'a dyn Observer,
    /// Set when the user asks to stop.
    pub cancel: &'a AtomicBool,
}
