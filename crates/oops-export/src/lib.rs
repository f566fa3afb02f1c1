//! Models as other programs load them. Every exporter writes its form, reopens what it wrote and compares it with the
//! model that went in (`proof.rs`); a form that does not compute the same is a failure, not an artifact.
//!
//! An export is a folder: weights, configuration and tokenizer in the target's own form, `README.md` (the model card,
//! `card.rs`) and `verify.json` (what was compared, and how far apart it was).

mod card;
mod gguf;
mod hf;
mod onnx;
mod proof;
mod stage;
#[cfg(test)]
mod testkit;

use oops_stage::{AnyStage, erase};

/// The stages of this crate.
pub fn stages() -> Vec<Box<dyn AnyStage>> {
    vec![erase::<gguf::Gguf>(), erase::<hf::Hf>(), erase::<onnx::Onnx>()]
}
