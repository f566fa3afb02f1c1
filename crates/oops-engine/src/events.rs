//! What a walk tells about itself.

use std::path::Path;

use oops_core::Fault;
use oops_stage::{NoProgress, Progress};

use crate::Reason;

/// Something happened.
#[derive(Debug)]
pub enum Event<'e> {
    /// A stage's result was taken from the store.
    Cached {
        /// Name of the instance.
        instance: &'e str,
    },
    /// A stage starts.
    Started {
        /// Name of the instance.
        instance: &'e str,
        /// Name of the stage.
        stage: &'e str,
        /// Why it runs.
        reason: &'e Reason,
    },
    /// A stage is published.
    Finished {
        /// Name of the instance.
        instance: &'e str,
        /// Why it ran.
        reason: &'e Reason,
        /// Seconds it took.
        wall_s: f64,
    },
    /// A stage failed, or cannot run.
    Failed {
        /// Name of the instance.
        instance: &'e str,
        /// How.
        fault: &'e Fault,
    },
    /// A file outside the store is read to find its digest.
    Reading {
        /// The file.
        path: &'e Path,
        /// Its length.
        bytes: u64,
    },
    /// Another process is doing this stage right now.
    Waiting {
        /// Name of the instance.
        instance: &'e str,
    },
    /// Something that does not stop the run but should be known.
    Warning {
        /// Name of the instance.
        instance: &'e str,
        /// What.
        message: &'e str,
    },
}

/// Hears what a walk tells.
pub trait Observer: Sync {
    /// Something happened.
    fn event(&self, event: &Event<'_>);

    /// Where the progress of an instance that starts now should go.
    fn progress<'o>(&'o self, instance: &str) -> Box<dyn Progress + 'o>;
}

/// Hears nothing.
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _: &Event<'_>) {}

    fn progress<'o>(&'o self, _: &str) -> Box<dyn Progress + 'o> {
        Box::new(NoProgress)
    }
}
