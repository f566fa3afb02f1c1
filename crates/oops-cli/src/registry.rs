//! All stages of this binary: the one list that a new stage crate is added to.

use oops_core::Result;
use oops_stage::Registry;

/// Collects the stages.
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
    Registry::new(crates.into_iter().flatten())
}
