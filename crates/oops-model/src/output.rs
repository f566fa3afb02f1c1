//! A checkpoint that we write: one shard per block, one for the rest, and the small files around them.

use std::path::{Path, PathBuf};

use candle_core::{DType as Stored, Tensor};
use oops_core::{Fault, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Block, Checkpoint, DType, ModelConfig, hf::biases, hf_config, hf_config_with_biases, hf_index, lift::Lift,
    shard_contents, write_outer,
};

/// Precision of written weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SaveAs {
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
    pub fn resolve(self, source: &DType) -> DType {
        match (self, source) {
            (Self::F32, _) | (Self::Auto, DType::F32 | DType::Quantized(_)) => DType::F32,
            (Self::F16, _) | (Self::Auto, DType::F16) => DType::F16,
            (Self::Bf16, _) | (Self::Auto, DType::BF16) => DType::BF16,
        }
    }
}

impl Block {
    /// The block as it will be read back after it was written as `dtype`: rounded, in f32.
    pub fn rounded(&self, dtype: &DType) -> Result<Self> {
        let stored = match dtype {
            DType::F16 => Stored::F16,
            DType::BF16 => Stored::BF16,
            DType::F32 | DType::Quantized(_) => return Ok(self.clone()),
        };
        self.map(&mut |_, _, t: &Tensor| t.to_dtype(stored).and_then(|t| t.to_dtype(Stored::F32)).lift())
    }
}

/// Name of a block's shard.
pub fn block_file(l: usize) -> String {
    format!("model-block-{l:03}.safetensors")
}

/// Name of the shard of embedding, final norm and head.
pub const OUTER_FILE: &str = "model-outer.safetensors";
const TOKENIZER: &str = "tokenizer.json";
/// Files that are taken over as they are, where the source has them.
const KEPT_FILES: [&str; 8] = [
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
    "chat_template.jinja",
    "LICENSE",
    "LICENSE.md",
    "LICENSE.txt",
    "NOTICE",
];

/// Stores one file: calls the writer with the path to fill.
pub type PutFile<'a> = dyn FnMut(&str, &mut dyn FnMut(&Path) -> Result<()>) -> Result<()> + 'a;

/// Writes everything but the blocks: embedding, final norm and head of `checkpoint`, configuration, index, and the tokenizer if
/// there is one.
///
/// The shards of all blocks ([`block_file`]) must be finished. `put` stores a file, `path` says where a stored one
/// lies, `keep` takes a file of the source over unchanged and tells whether the source has it.
pub fn write_rest(
    checkpoint: &Checkpoint,
    config: &ModelConfig,
    put: &mut PutFile<'_>,
    path: &dyn Fn(&str) -> PathBuf,
    keep: &mut dyn FnMut(&str) -> Result<bool>,
) -> Result<()> {
    let head = (!config.dims.tied).then(|| checkpoint.head()).transpose()?;
    put(OUTER_FILE, &mut |path| {
        write_outer(path, &checkpoint.embedding()?, &checkpoint.final_norm()?, head.as_ref(), &config.dtype)
    })?;
    let index = shard_index(config.dims.blocks.len(), path)?;
    let own = biases::of_class(config.family);
    let beyond =
        |name: &String| name.strip_suffix(".bias").is_some_and(|n| !own.iter().any(|layer| n.ends_with(layer)));
    let biased = index["weight_map"].as_object().is_some_and(|map| map.keys().any(beyond));
    let form = if biased { hf_config_with_biases } else { hf_config };
    put("config.json", &mut |path| write_json(path, &form(config)))?;
    put("model.safetensors.index.json", &mut |path| write_json(path, &index))?;
    // Methods that read no text need none.
    if !keep(TOKENIZER)? && checkpoint.has_tokenizer() {
        let text = checkpoint.tokenizer()?.to_json()?;
        put(TOKENIZER, &mut |path| std::fs::write(path, &text).map_err(|e| Fault::writing(path, &e)))?;
    }
    for name in KEPT_FILES {
        // A GGUF source has these in its metadata.
        let text = if keep(name)? || !checkpoint.is_gguf() { None } else { checkpoint.companion(name)? };
        if let Some(text) = text {
            put(name, &mut |path| std::fs::write(path, &text).map_err(|e| Fault::writing(path, &e)))?;
        }
    }
    Ok(())
}

/// The index of finished shards: those of `blocks` blocks and the outer one; `path` says where each lies.
pub fn shard_index(blocks: usize, path: &dyn Fn(&str) -> PathBuf) -> Result<serde_json::Value> {
    let shard = |name: String| {
        let (tensors, bytes) = shard_contents(&path(&name))?;
        Ok((name, tensors, bytes))
    };
    let names = (0..blocks).map(block_file).chain([OUTER_FILE.to_owned()]);
    Ok(hf_index(&names.map(shard).collect::<Result<Vec<_>>>()?))
}

fn write_json(path: &Path, value: &serde_json::Value) -> Result<()> {
    std::fs::write(path, format!("{value:#}\n")).map_err(|e| Fault::writing(path, &e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fixtures::random_block, values, write_block};
    use oops_core::BlockDims;

    #[test]
    fn a_rounded_block_is_the_one_that_is_read_back() {
        let dims = BlockDims { query_heads: 2, kv_heads: 1, head_dim: 4, ffn: 6 };
        let block = random_block(8, dims, 1);
        let path = std::env::temp_dir().join(format!("oops-rounded-{}.safetensors", std::process::id()));
        for (dtype, stored) in [(DType::F32, Stored::F32), (DType::F16, Stored::F16), (DType::BF16, Stored::BF16)] {
            write_block(&path, 3, &block, &dtype).unwrap();
            let file = candle_core::safetensors::load(&path, &candle_core::Device::Cpu).unwrap();
            for (name, tensor) in block.rounded(&dtype).unwrap().named(3) {
                assert_eq!(file[&name].dtype(), stored);
                assert_eq!(values(&file[&name]).unwrap(), values(tensor).unwrap(), "{name}");
            }
        }
        std::fs::remove_file(path).unwrap();
    }
}
