//! Calibration: runs the dense model over a token set, block by block, and accumulates activation statistics
//! (METHOD: moments per channel, Gram matrix per site). Memory is bounded by one block, the activations of the token
//! set, and the statistics of one block.

mod activations;
mod flops;
mod hidden;
mod moments;

use oops_stage::{AnyStage, erase};

pub use activations::Activations;

/// The stages of this crate.
pub fn stages() -> Vec<Box<dyn AnyStage>> {
    vec![erase::<Activations>()]
}
