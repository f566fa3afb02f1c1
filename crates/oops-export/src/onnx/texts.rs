//! The small files that onnxruntime-genai reads beside the graph.

use oops_core::{Fault, Result};
use oops_model::ModelConfig;
use serde_json::{Value, json};

use super::{decoder::caches, weights::GRAPH};

/// `search.max_length`: programs that say nothing reserve a cache of this many tokens at once.
const MAX_LENGTH: usize = 4096;

/// `genai_config.json`.
///
/// Its one number of KV heads is that of the widest block; the runtime takes each cache's own from the graph.
pub(super) fn genai_config(config: &ModelConfig) -> Result<Value> {
    let caches = caches(&config.dims.blocks);
    let first = caches.first().ok_or_else(|| {
        Fault::data("no block of this model has attention, which onnxruntime-genai cannot run")
            .help("use form: portable")
    })?;
    let most = |heads: fn(&oops_core::BlockDims) -> usize| config.dims.blocks.iter().map(heads).max();
    let eos = match config.eos.as_slice() {
        [one] => json!(one),
        some => json!(some),
    };
    let mut out = json!({
        "model": {
            "type": "llama",
            "eos_token_id": eos,
            "pad_token_id": config.eos.first().copied().or(config.bos).unwrap_or(0),
            "vocab_size": config.dims.vocab,
            "context_length": config.max_position,
            "decoder": {
                "session_options": { "log_id": "onnxruntime-genai", "provider_options": [] },
                "filename": GRAPH,
                "head_size": first.head_dim,
                "hidden_size": config.dims.hidden,
                "num_attention_heads": most(|b| b.query_heads),
                "num_hidden_layers": caches.len(),
                "num_key_value_heads": most(|b| b.kv_heads),
                "inputs": {
                    "input_ids": "input_ids",
                    "attention_mask": "attention_mask",
                    "past_key_names": "past_key_values.%d.key",
                    "past_value_names": "past_key_values.%d.value",
                },
                "outputs": {
                    "logits": "logits",
                    "present_key_names": "present.%d.key",
                    "present_value_names": "present.%d.value",
                },
            },
        },
        "search": {
            "do_sample": false,
            "max_length": config.max_position.min(MAX_LENGTH),
            "min_length": 0,
            "num_beams": 1,
            "past_present_share_buffer": true,
        },
    });
    if let Some(bos) = config.bos {
        out["model"]["bos_token_id"] = json!(bos);
    }
    Ok(out)
}
