//! Stages that bring things in: checkpoints (`source.model`) and text (`source.text`). Files stay where they are; the
//! store keeps their digests.

mod model;
mod read;
mod text;

use oops_stage::{AnyStage, erase};

pub use model::SourceModel;
pub use text::SourceText;

/// The stages of this crate.
pub fn stages() -> Vec<Box<dyn AnyStage>> {
    vec![erase::<SourceModel>(), erase::<SourceText>()]
}
