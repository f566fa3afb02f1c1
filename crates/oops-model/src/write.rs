//! Checkpoints out: Hugging Face layout, one shard per block.

use std::path::Path;

use candle_core::Tensor;
use oops_core::{BlockPlan, Fault, Result};

use crate::{Block, DType, ModelConfig};

/// The block with only the units of `plan`, physically smaller.
pub fn slice_block(_block: &Block, _plan: &BlockPlan) -> Result<Block> {
    Err(Fault::internal("interface only"))
}

/// Writes block `l` as a safetensors shard with Hugging Face names.
pub fn write_block(_path: &Path, _l: usize, _block: &Block, _dtype: &DType) -> Result<()> {
    Err(Fault::internal("interface only"))
}

/// Writes embedding, final norm and (untied) head as a safetensors shard.
pub fn write_outer(
    _path: &Path,
    _embedding: &Tensor,
    _final_norm: &Tensor,
    _head: Option<&Tensor>,
    _dtype: &DType,
) -> Result<()> {
    Err(Fault::internal("interface only"))
}

/// The text of `config.json`; widths that differ between blocks go into `block_widths`.
pub fn hf_config(_config: &ModelConfig) -> serde_json::Value {
    serde_json::Value::Null
}

/// `model.safetensors.index.json` of shards given as (file, tensor names, bytes).
pub fn hf_index(_shards: &[(String, Vec<String>, u64)]) -> serde_json::Value {
    serde_json::Value::Null
}

/// GFLOP/s of a 2048³ f32 matmul through candle, best of 3, all threads.
pub fn gemm_ceiling() -> Result<f64> {
    Err(Fault::internal("interface only"))
}
