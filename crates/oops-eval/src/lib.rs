//! Evaluation: perplexity under a stated protocol, and size. Every stage writes one row of figures per input model.

mod perplexity;
mod size;
mod windows;

use oops_stage::{AnyStage, erase};

pub use perplexity::Perplexity;
pub use size::Size;

/// The stages of this crate.
pub fn stages() -> Vec<Box<dyn AnyStage>> {
    vec![erase::<Perplexity>(), erase::<Size>()]
}
