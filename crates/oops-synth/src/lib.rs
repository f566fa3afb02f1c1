//! The embedded model: a story grammar, a tokenizer, a trainer, and [`build`], which makes `data/` from seeds.
//!
//! Start at [`grammar::story`] for the text and at `train` for the training. It knows nothing of stages, pipelines or
//! the store; its products are an ordinary checkpoint and ordinary texts.

mod adam;
mod bpe;
mod build;
mod corpus;
mod folder;
pub mod grammar;
mod measure;
mod network;
mod ngram;
mod readme;
mod rng;
mod train;

#[cfg(test)]
mod committed;

pub use build::{Options, build};
