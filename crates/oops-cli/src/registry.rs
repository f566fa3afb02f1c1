//! All stages of this binary: the one list that a new stage crate is added to.

use oops_core::Result;
use oops_stage::{AnyStage, Registry};

use crate::sources;

/// Collects the stages, each with the source that it was compiled from.
pub(crate) fn registry() -> Result<Registry> {
    let crates = [
        oops_source::stages(),
        oops_calibrate::stages(),
        oops_score::stages(),
        oops_select::stages(),
        oops_reconstruct::stages(),
        oops_distill::stages(),
        oops_eval::stages(),
        oops_export::stages(),
        oops_report::stages(),
    ];
    let sourced = |mut stage: Box<dyn AnyStage>| {
        if let Some(revision) = sources::revision(stage.name(), stage.version()) {
            stage.set_revision(revision);
        }
        stage
    };
    Registry::new(crates.into_iter().flatten().map(sourced))
}
