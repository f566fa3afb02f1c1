//! Distillation: a student's weights trained on the outputs of its teacher.
//!
//! `distill.blockwise` walks the blocks: AdamW fits each to the dense block's output on the student's own residual
//! stream, the guard keeps the best weights by error on held-out sequences, and every finished block is a checkpoint.
//! `distill.logits` trains all blocks at once on the dense model's next-token distributions.

mod adamw;
mod blockwise;
mod logits;
mod objective;
mod order;
mod pair;
mod params;
mod schedule;
mod streams;
mod train;
mod trainable;
mod walk;

#[cfg(test)]
mod testkit;

use oops_core::Fault;
use oops_stage::{AnyStage, erase};

/// The stages of this crate.
pub fn stages() -> Vec<Box<dyn AnyStage>> {
    vec![erase::<blockwise::Blockwise>(), erase::<logits::Logits>()]
}

/// A failure of the tensor library, which the shapes here rule out.
fn fault(e: candle_core::Error) -> Fault {
    Fault::internal(format!("distillation: {e}"))
}
