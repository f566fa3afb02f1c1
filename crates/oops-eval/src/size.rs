//! `eval.size`: parameters, bytes, KV cache and widths of models.

use oops_artifact::{Kind, Metrics};
use oops_core::{ModelDims, Result};
use oops_model::Checkpoint;
use oops_stage::{Cx, Facts, Inputs, Port, PortFacts, Source, Stage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

/// Parameters of [`Size`].
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Bytes per cached key or value (2 for f16 and bf16 caches).
    kv_bytes_per_value: u64,
}

impl Default for Params {
    fn default() -> Self {
        Self { kv_bytes_per_value: 2 }
    }
}

/// Size of models.
pub struct Size;

impl Stage for Size {
    type Params = Params;
    const NAME: &'static str = "eval.size";
    /// 2: biases and head norms count.
    const VERSION: u32 = 2;
    const ABOUT: &'static str = "parameters, bytes on disk, KV-cache bytes per token, widths";
    const INPUTS: &'static [Port] = &[Port::many("models", Kind::Model)];
    const OUTPUT: Kind = Kind::Metrics;

    fn check(_: &Params, _: &PortFacts, _: &[Source]) -> Result<Facts> {
        Ok(Facts::default())
    }

    fn run(params: &Params, inputs: &Inputs, cx: &Cx<'_>) -> Result<()> {
        let mut rows = Vec::new();
        for model in inputs.many("models") {
            let checkpoint = Checkpoint::open(&model.paths)?;
            let dims = &checkpoint.config().dims;
            let figures = json!({
                "parameters": parameters(&checkpoint),
                "decoder_parameters": dims.decoder_params(),
                "stored_dtype": format!("{:?}", checkpoint.config().dtype),
                "stored_bytes": checkpoint.stored_bytes(),
                "f16_bytes": 2 * parameters(&checkpoint),
                "kv_bytes_per_token": dims.kv_bytes_per_token(params.kv_bytes_per_value),
                "kv_heads": dims.blocks.iter().map(|b| b.kv_heads).collect::<Vec<_>>(),
                "ffn": dims.blocks.iter().map(|b| b.ffn).collect::<Vec<_>>(),
            });
            rows.push(Metrics::row(model, figures));
        }
        let protocol = Map::from_iter([
            (
                "parameters".to_owned(),
                json!("every weight of the model: linear layers, biases, norms, embedding, head if untied"),
            ),
            ("decoder_parameters".to_owned(), json!("linear weights of all blocks")),
            ("stored_bytes".to_owned(), json!("tensors as they are stored")),
            ("f16_bytes".to_owned(), json!("two per parameter")),
            ("kv_bytes_per_value".to_owned(), json!(params.kv_bytes_per_value)),
        ]);
        Metrics { protocol, models: rows }.write(&cx.work)
    }
}

/// Every weight of the model: what is stored of each block (linear layers, biases, norms), the final norm, embedding and,
/// if untied, head.
pub(crate) fn parameters(checkpoint: &Checkpoint) -> u64 {
    let dims = &checkpoint.config().dims;
    let of_block = |l: usize| checkpoint.block_tensors(l, &dims.blocks[l]);
    let stored = (0..dims.blocks.len()).flat_map(of_block).filter(|(name, _)| checkpoint.has(name));
    let blocks: u64 = stored.map(|(_, shape)| shape.iter().product::<usize>() as u64).sum();
    let matrices = if dims.tied { 1 } else { 2 };
    blocks + dims.hidden as u64 + matrices * (dims.vocab * dims.hidden) as u64
}

/// The same before the model is there, so without biases and head norms: linear weights of all blocks, two norms per
/// block, the final norm, embedding and, if untied, head.
pub(crate) fn total_params(dims: &ModelDims) -> u64 {
    let (hidden, vocab) = (dims.hidden as u64, dims.vocab as u64);
    let norms = (2 * dims.blocks.len() as u64 + 1) * hidden;
    dims.decoder_params() + norms + vocab * hidden * if dims.tied { 1 } else { 2 }
}

#[cfg(test)]
mod tests {
    use oops_core::BlockDims;

    use super::*;

    #[test]
    fn smollm2_has_its_published_number_of_parameters() {
        let block = BlockDims { query_heads: 9, kv_heads: 3, head_dim: 64, ffn: 1536 };
        let dims = ModelDims { hidden: 576, vocab: 49152, tied: true, gated: true, blocks: vec![block; 30] };
        assert_eq!(total_params(&dims), 134_515_008);
    }
}
