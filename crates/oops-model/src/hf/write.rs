//! Checkpoints out: Hugging Face layout, one shard per block.

use std::{borrow::Cow, collections::HashMap, fs, path::Path};

use candle_core::Tensor;
use oops_core::{Fault, Result};
use safetensors::{Dtype, SafeTensors, View};
use serde_json::{Map, Value, json};

use super::{precision, rope};
use crate::{Block, DType, ModelConfig, family::WindowRule, host};

/// Writes block `l` as a safetensors shard with Hugging Face names (`model.layers.{l}.…`).
pub fn write_block(path: &Path, l: usize, block: &Block, dtype: &DType) -> Result<()> {
    write(path, block.named(l), dtype)
}

/// Writes embedding, final norm and (untied) head as a safetensors shard.
pub fn write_outer(
    path: &Path,
    embedding: &Tensor,
    final_norm: &Tensor,
    head: Option<&Tensor>,
    dtype: &DType,
) -> Result<()> {
    let mut tensors =
        vec![("model.embed_tokens.weight".to_owned(), embedding), ("model.norm.weight".to_owned(), final_norm)];
    tensors.extend(head.map(|h| ("lm_head.weight".to_owned(), h)));
    write(path, tensors, dtype)
}

/// Names of the tensors in a shard, sorted, and the bytes of their values: what [`hf_index`] asks for.
pub fn shard_contents(path: &Path) -> Result<(Vec<String>, u64)> {
    let bytes = fs::read(path).map_err(|e| Fault::reading(path, &e))?;
    let parsed = SafeTensors::deserialize(&bytes);
    let tensors =
        parsed.map_err(|e| Fault::data(format!("not a complete safetensors file: {e}")).at(path.display()))?;
    let mut names: Vec<String> = tensors.names().into_iter().map(str::to_owned).collect();
    names.sort_unstable();
    let stored = tensors.iter().map(|(_, view)| view.data().len() as u64).sum();
    Ok((names, stored))
}

/// A tensor's bytes on their way out.
struct Encoded {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl View for Encoded {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

fn write(path: &Path, tensors: Vec<(String, &Tensor)>, dtype: &DType) -> Result<()> {
    let dtype = precision::writable(dtype)?;
    let encode = |(name, tensor): (String, &Tensor)| {
        let bytes = host::with_values(tensor, |v| precision::encode(v, dtype))?;
        let bytes = bytes.map_err(|f| f.at(format!("tensor `{name}`")))?;
        Ok((name, Encoded { dtype, shape: tensor.dims().to_vec(), bytes }))
    };
    let tensors = tensors.into_iter().map(encode).collect::<Result<Vec<_>>>()?;
    // The one entry that transformers asks for; a map of one has one order.
    let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let bytes = safetensors::serialize(tensors, Some(format));
    let bytes = bytes.map_err(|e| Fault::internal(format!("safetensors: {e}")))?;
    fs::write(path, bytes).map_err(|e| Fault::writing(path, &e))
}

/// config.json in the spelling that transformers 4 and 5 both read.
///
/// Widths that differ between blocks go into our own key `block_widths`, one entry per block with
/// `num_attention_heads`, `num_key_value_heads` and `intermediate_size`; the usual keys then hold the largest.
pub fn hf_config(config: &ModelConfig) -> Value {
    let (family, dims) = (config.family.descriptor(), &config.dims);
    let widest = |width: fn(&oops_core::BlockDims) -> usize| dims.blocks.iter().map(width).max().unwrap_or(0);
    let mut out = json!({
        "architectures": [family.class],
        "model_type": family.model_type,
        "hidden_act": "silu",
        "hidden_size": dims.hidden,
        "intermediate_size": widest(|b| b.ffn),
        "num_hidden_layers": dims.blocks.len(),
        "num_attention_heads": widest(|b| b.query_heads),
        "num_key_value_heads": widest(|b| b.kv_heads),
        "head_dim": widest(|b| b.head_dim),
        "vocab_size": dims.vocab,
        "max_position_embeddings": config.max_position,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope.theta,
        "rope_scaling": rope::write(&config.rope.scaling, config.max_position),
        "tie_word_embeddings": dims.tied,
        "bos_token_id": config.bos,
        "eos_token_id": config.eos,
        "torch_dtype": match config.dtype {
            DType::F16 => "float16",
            DType::BF16 => "bfloat16",
            DType::F32 | DType::Quantized(_) => "float32",
        },
        "sliding_window": config.sliding_window,
    });
    if family.window == WindowRule::Enabled {
        out["use_sliding_window"] = json!(config.sliding_window.is_some());
        out["max_window_layers"] = json!(if config.sliding_window.is_some() { 0 } else { dims.blocks.len() });
    }
    if dims.blocks.windows(2).any(|w| w[0] != w[1]) || dims.blocks.iter().any(|b| b.kv_heads == 0 || b.ffn == 0) {
        out["block_widths"] = dims.blocks.iter().map(|b| Value::Object(hf_widths(b))).collect();
    }
    out
}

/// [`hf_config`] for files of ours in which some layers have biases that no key of transformers speaks of: the files
/// decide which (`"biases": "as_stored"`).
pub fn hf_config_with_biases(config: &ModelConfig) -> Value {
    let mut out = hf_config(config);
    super::biases::declare(&mut out);
    out
}

/// A block's widths under config.json's names for them.
pub fn hf_widths(b: &oops_core::BlockDims) -> Map<String, Value> {
    [("num_attention_heads", b.query_heads), ("num_key_value_heads", b.kv_heads), ("intermediate_size", b.ffn)]
        .map(|(name, n)| (name.to_owned(), json!(n)))
        .into_iter()
        .collect()
}

/// `model.safetensors.index.json` of shards given as (file, tensor names, bytes of their values).
pub fn hf_index(shards: &[(String, Vec<String>, u64)]) -> Value {
    let pairs = shards.iter().flat_map(|(file, names, _)| names.iter().map(move |n| (n.clone(), json!(file))));
    let weight_map: Map<String, Value> = pairs.collect();
    json!({
        "metadata": { "total_size": shards.iter().map(|s| s.2).sum::<u64>() },
        "weight_map": weight_map,
    })
}
