//! A streaming decoder with per-block widths, and its checkpoints.
//!
//! Start at [`Checkpoint`] (weights in), [`Decoder`] (forward pass with taps at the sites) and [`write_block`]
//! (weights out). Nothing here knows scores, where a plan came from, or the store.

mod block;
mod checkpoint;
mod config;
mod decoder;
mod family;
mod gguf;
mod host;
mod source;
mod tokenizer;
mod write;

pub use block::{Block, Linear};
pub use checkpoint::Checkpoint;
pub use config::{DType, ModelConfig, Rope, RopeScaling};
pub use decoder::{Decoder, cross_entropy};
pub use family::Family;
pub use host::{matrix, values, vector, with_values};
pub use tokenizer::Tokenizer;
pub use write::{gemm_ceiling, hf_config, hf_index, slice_block, write_block, write_outer};
