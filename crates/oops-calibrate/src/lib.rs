//! Calibration: runs the dense model over a token set, block by block, and accumulates activation statistics (moments
//! per channel, Gram matrix per site) or, on the way back, mask gradients per unit. Memory is bounded by one block, the
//! activations of the token set, and the statistics of one block.

mod activations;
mod flops;
mod gradients;
mod hidden;
mod moments;
mod residual;

use oops_stage::{AnyStage, erase};

pub use activations::Activations;
pub use gradients::Gradients;

/// The stages of this crate.
pub fn stages() -> Vec<Box<dyn AnyStage>> {
    vec![erase::<Activations>(), erase::<Gradients>()]
}
