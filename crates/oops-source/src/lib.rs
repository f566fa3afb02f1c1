//! Stages that bring things in: checkpoints (`source.model`), text (`source.text`), mixtures of texts (`source.mix`) and
//! published plans (`source.plan`). Files stay where they are; the store keeps their digests.

mod mix;
mod model;
mod plan;
mod read;
mod text;

use oops_stage::{AnyStage, erase};

pub use mix::SourceMix;
pub use model::SourceModel;
pub use plan::SourcePlan;
pub use text::{SourceText, text_name};

/// The stages of this crate.
pub fn stages() -> Vec<Box<dyn AnyStage>> {
    vec![erase::<SourceModel>(), erase::<SourceText>(), erase::<SourceMix>(), erase::<SourcePlan>()]
}
