//! A streaming decoder with per-block widths, and its checkpoints.
//!
//! Start at [`Checkpoint`] (weights in), [`Decoder`] (forward pass with taps at the sites), [`LoadedModel`] (a whole model
//! in memory, token by token) and [`write_block`] (weights out). Nothing here knows scores, where a plan came from, or the store.

#![cfg_attr(test, allow(clippy::float_cmp, reason = "tests state exact results where results are exact"))]

pub mod autograd;
mod block;
mod bytes;
mod ceiling;
mod chat;
mod checkpoint;
mod compute_dtype;
mod config;
mod decoder;
mod device;
mod family;
#[cfg(test)]
mod fixtures;
mod generate;
mod gguf;
mod hf;
mod host;
mod kernels;
mod lift;
mod output;
mod pad;
mod sample;
mod shelf;
mod slice;
mod source;
mod special;
mod spill;
mod stream;
mod stream_dtype;
mod tokenizer;

pub use block::{Block, Linear, Role};
pub use ceiling::{gemm_ceiling, read_ceiling};
pub use checkpoint::Checkpoint;
pub use compute_dtype::ComputeDtype;
pub use config::{DType, ModelConfig, Rope, RopeScaling};
pub use decoder::{
    Decoder, Divergence, FfnStep, GradTap, Head, KvCache, LinearizedFfn, LoadedModel, Tape, cross_entropy,
};
pub use device::open_device;
pub use family::Family;
pub use generate::{Generated, Stopped, generate, room};
pub use gguf::{GgufFormat, GgufMeta, GgufTarget, gguf_losses, write_gguf};
pub use hf::write::{hf_config, hf_config_with_biases, hf_index, hf_widths, shard_contents, write_block, write_outer};
pub use host::{matrix, transposed, values, vector, with_values};
pub use output::{OUTER_FILE, PutFile, SaveAs, block_file, shard_index, write_rest};
pub use pad::pad_block;
pub use sample::{Sampler, likeliest};
pub use shelf::{Shelf, load_shelves, save_shelves};
pub use slice::slice_block;
pub use spill::{TensorReader, TensorWriter, load_slices, load_tensors, save_slices, save_tensors};
pub use stream::TextStream;
pub use stream_dtype::StreamDtype;
pub use tokenizer::{Span, Tokenizer};
