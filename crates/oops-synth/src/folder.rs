//! The model on disk: Hugging Face layout, weights in bf16.

use std::{collections::HashMap, fs, path::Path};

use candle_core::{DType, Tensor};
use oops_core::{Fault, Result};
use oops_model::{Block, hf_config};
use serde_json::{Value, json};

use crate::{
    bpe::{BOS, EOS},
    network::{CONTEXT, Network, fault},
};

/// Writes `bytes` to `dir/name` and makes the folders on the way.
pub(crate) fn write(dir: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let path = dir.join(name);
    let parent = path.parent().unwrap_or(dir);
    fs::create_dir_all(parent).and_then(|()| fs::write(&path, bytes)).map_err(|e| Fault::writing(&path, &e))
}

/// Writes the five files of a checkpoint into `dir`.
pub(crate) fn save(network: &Network, tokenizer_json: &str, dir: &Path) -> Result<()> {
    let tokens = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS.0,
        "eos_token": EOS.0,
        "add_bos_token": true,
        "clean_up_tokenization_spaces": false,
        "model_max_length": CONTEXT,
    });
    let generation = json!({ "bos_token_id": BOS.1, "eos_token_id": [EOS.1, BOS.1] });
    write(dir, "config.json", &pretty(&hf_config(&network.config)))?;
    write(dir, "tokenizer.json", tokenizer_json.as_bytes())?;
    write(dir, "tokenizer_config.json", &pretty(&tokens))?;
    write(dir, "generation_config.json", &pretty(&generation))?;
    let stored = weights(network).into_iter().map(|(name, t)| Ok((name, t.to_dtype(DType::BF16).map_err(fault)?)));
    let stored = stored.collect::<Result<HashMap<_, _>>>()?;
    let bytes = safetensors::serialize(&stored, None)
        .map_err(|e| Fault::internal(format!("the weights cannot be put into safetensors: {e}")))?;
    write(dir, "model.safetensors", &bytes)
}

fn pretty(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

/// All weights under their Hugging Face names.
fn weights(network: &Network) -> Vec<(String, Tensor)> {
    let mut all = vec![
        ("model.embed_tokens.weight".to_owned(), network.embedding.clone()),
        ("model.norm.weight".to_owned(), network.final_norm.clone()),
    ];
    for (l, block) in network.blocks.iter().enumerate() {
        all.extend(named(block).map(|(name, t)| (format!("model.layers.{l}.{name}.weight"), t.clone())));
    }
    all
}

fn named(block: &Block) -> [(&'static str, &Tensor); 9] {
    [
        ("input_layernorm", &block.input_norm),
        ("self_attn.q_proj", &block.q.weight),
        ("self_attn.k_proj", &block.k.weight),
        ("self_attn.v_proj", &block.v.weight),
        ("self_attn.o_proj", &block.o.weight),
        ("post_attention_layernorm", &block.ffn_norm),
        ("mlp.gate_proj", &block.gate.weight),
        ("mlp.up_proj", &block.up.weight),
        ("mlp.down_proj", &block.down.weight),
    ]
}
