//! All stages of this binary: the one list that a new stage crate is added to.

use oops_stage::AnyStage;

/// The stages of all crates.
pub(crate) fn stages() -> impl Iterator<Item = Box<dyn AnyStage>> {
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
    crates.into_iter().flatten()
}
