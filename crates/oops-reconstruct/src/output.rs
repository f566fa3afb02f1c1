//! The pruned checkpoint, one shard per block.

use oops_artifact::{Artifact, Sink, json};
use oops_core::{Fault, Plan, Result};
use oops_model::{Checkpoint, DType, ModelConfig, hf_config, hf_index, shard_contents, write_outer};
use oops_stage::Workdir;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Precision of written weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SaveAs {
    /// As the source; f32 for quantised sources.
    #[default]
    Auto,
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// bfloat16.
    Bf16,
}

impl SaveAs {
    /// The stored type for a source of type `source`.
    pub(crate) fn resolve(self, source: &DType) -> DType {
        match (self, source) {
            (Self::F32, _) | (Self::Auto, DType::F32 | DType::Quantized(_)) => DType::F32,
            (Self::F16, _) | (Self::Auto, DType::F16) => DType::F16,
            (Self::Bf16, _) | (Self::Auto, DType::BF16) => DType::BF16,
        }
    }
}

/// Name of a block's shard.
pub(crate) fn block_file(l: usize) -> String {
    format!("model-block-{l:03}.safetensors")
}

const OUTER: &str = "model-outer.safetensors";
/// Files that are taken over as they are, where the source has them.
const KEPT_FILES: [&str; 4] =
    ["tokenizer_config.json", "special_tokens_map.json", "generation_config.json", "chat_template.jinja"];

/// Writes everything but the blocks: embedding, norm and head, configuration, index, tokenizer.
pub(crate) fn write_rest(
    work: &Workdir,
    source: &Artifact,
    checkpoint: &Checkpoint,
    plan: &Plan,
    dtype: &DType,
) -> Result<()> {
    let dense = checkpoint.config();
    let head = (!dense.dims.tied).then(|| checkpoint.head()).transpose()?;
    work.write(OUTER, |path| {
        write_outer(path, &checkpoint.embedding()?, &checkpoint.final_norm()?, head.as_ref(), dtype)
    })?;
    let config = ModelConfig { dims: plan.apply(&dense.dims), dtype: dtype.clone(), ..dense.clone() };
    work.file("config.json", &mut |path| json::write(path, &hf_config(&config)))?;
    let shard = |name: String| {
        let (tensors, bytes) = shard_contents(&work.path(&name))?;
        Ok((name, tensors, bytes))
    };
    let names = (0..dense.dims.blocks.len()).map(block_file).chain([OUTER.to_owned()]);
    let shards = names.map(shard).collect::<Result<Vec<_>>>()?;
    work.file("model.safetensors.index.json", &mut |path| json::write(path, &hf_index(&shards)))?;
    if source.tree.0.contains_key("tokenizer.json") {
        work.link("tokenizer.json", source, "tokenizer.json")?;
    } else {
        let text = checkpoint.tokenizer()?.to_json()?;
        work.write("tokenizer.json", |path| std::fs::write(path, &text).map_err(|e| Fault::writing(path, &e)))?;
    }
    let present = |name: &&str| source.tree.0.contains_key(*name);
    KEPT_FILES.iter().filter(|n| present(n)).try_for_each(|name| work.link(name, source, name))
}
