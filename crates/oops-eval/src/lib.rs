//! Evaluation: perplexity under a stated protocol, size, and speed. Every stage writes one row of figures per input model.

mod perplexity;
mod size;
mod speed;
mod spread;
mod windows;

use oops_stage::{AnyStage, erase};

pub use perplexity::Perplexity;
pub use size::Size;
pub use speed::Speed;

/// The stages of this crate.
pub fn stages() -> Vec<Box<dyn AnyStage>> {
    vec![erase::<Perplexity>(), erase::<Size>(), erase::<Speed>()]
}
