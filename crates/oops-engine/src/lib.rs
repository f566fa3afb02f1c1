//! Walks a graph of stages: key, look up, run, publish.

mod events;
mod explain;
mod key;
mod limits;
mod log;
mod make;
mod needs;
mod plan;
mod provenance;
mod reason;
mod resolve;
mod schedule;
mod selection;
mod walk;
mod warnings;

pub use events::{Event, Observer, Silent};
pub use explain::{Cause, Explained, Input, Upstream, explain};
pub use limits::Limits;
pub use needs::{Rates, Seconds, needs};
pub use plan::{Lookups, Planned, State, artifact, plan, plan_with};
pub use reason::{Change, Reason, changes};
pub use resolve::Resolved;
pub use schedule::{Job, run, run_all};
pub use selection::Selection;
pub use walk::Outcome;
pub use warnings::warnings;

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
