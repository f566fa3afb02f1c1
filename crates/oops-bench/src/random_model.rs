//! Checkpoints of a given shape with random weights, written block by block.
//!
//! The tokenizer has one token per byte, so that any text can be fed to it. Nothing else about such a model means
//! anything: it is there to measure time and memory.

use std::{fs, path::Path};

use oops_core::{BlockDims, Fault, Result, Rng, bail_if};
use oops_model::{
    Block, Linear, ModelConfig, OUTER_FILE, block_file, hf_config, matrix, shard_index, vector, write_block,
    write_outer,
};
use serde_json::{Map, Value, json};

/// What to write.
#[derive(Clone, Debug)]
pub struct ModelSpec {
    /// Shape, and precision of the weights: f32, f16 or bf16.
    pub config: ModelConfig,
    /// Seed of the weights.
    pub seed: u64,
}

/// Writes a checkpoint into a folder that is empty or not there yet; `done` hears of every block. Holds one block.
pub fn write_model(spec: &ModelSpec, folder: &Path, done: &mut dyn FnMut(usize, usize)) -> Result<()> {
    let config = &spec.config;
    let blocks = config.dims.blocks.len();
    bail_if(blocks == 0, || Fault::config("a model needs at least one block"))?;
    fs::create_dir_all(folder).map_err(|e| Fault::writing(folder, &e))?;
    let mut entries = fs::read_dir(folder).map_err(|e| Fault::reading(folder, &e))?;
    bail_if(entries.next().is_some(), || {
        Fault::config("the folder is not empty").at(folder.display()).help("name a new folder")
    })?;
    for (l, dims) in config.dims.blocks.iter().enumerate() {
        let mut rng = Rng::new(spec.seed, &format!("block {l}"));
        write_block(
            &folder.join(block_file(l)),
            l,
            &random_block(&mut rng, config.dims.hidden, *dims)?,
            &config.dtype,
        )?;
        done(l + 1, blocks);
    }
    write_outside(spec.seed, config, folder)?;
    let index = shard_index(blocks, &|name| folder.join(name))?;
    write_json(&folder.join("model.safetensors.index.json"), &index)?;
    write_json(&folder.join("tokenizer.json"), &byte_tokenizer())?;
    // Last: a folder without it is no checkpoint.
    write_json(&folder.join("config.json"), &hf_config(config))
}

/// Uniform numbers of variance `variance`.
fn numbers(rng: &mut Rng, count: usize, variance: f64) -> Vec<f32> {
    let width = (12.0 * variance).sqrt();
    (0..count).map(|_| ((rng.uniform() - 0.5) * width) as f32).collect()
}

fn random_block(rng: &mut Rng, hidden: usize, dims: BlockDims) -> Result<Block> {
    // Variance 1/inputs keeps activations near 1 through any number of blocks.
    let mut layer = |out: usize, inputs: usize| -> Result<Linear> {
        let weight = matrix(numbers(rng, out * inputs, 1.0 / inputs as f64), out, inputs)?;
        Ok(Linear { weight, bias: None })
    };
    let (wide, narrow) = (dims.query_heads * dims.head_dim, dims.kv_heads * dims.head_dim);
    Ok(Block {
        dims,
        input_norm: vector(vec![1.0; hidden])?,
        q: layer(wide, hidden)?,
        k: layer(narrow, hidden)?,
        v: layer(narrow, hidden)?,
        o: layer(hidden, wide)?,
        q_norm: None,
        k_norm: None,
        ffn_norm: vector(vec![1.0; hidden])?,
        gate: layer(dims.ffn, hidden)?,
        up: layer(dims.ffn, hidden)?,
        down: layer(hidden, dims.ffn)?,
    })
}

fn write_outside(seed: u64, config: &ModelConfig, folder: &Path) -> Result<()> {
    let (vocab, hidden) = (config.dims.vocab, config.dims.hidden);
    let table = |purpose: &str, variance: f64| {
        matrix(numbers(&mut Rng::new(seed, purpose), vocab * hidden, variance), vocab, hidden)
    };
    let embedding = table("embedding", 1.0)?;
    let head = (!config.dims.tied).then(|| table("head", 1.0 / hidden as f64)).transpose()?;
    let norm = vector(vec![1.0; hidden])?;
    write_outer(&folder.join(OUTER_FILE), &embedding, &norm, head.as_ref(), &config.dtype)
}

/// The character that byte-level BPE spells a byte with: itself where it prints, else one from U+0100 on (GPT-2).
fn spelling(byte: u8) -> char {
    let prints = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let hidden = (0..byte).filter(|b| !prints(*b)).count() as u32;
    if prints(byte) { byte as char } else { char::from_u32(256 + hidden).unwrap_or('?') }
}

fn byte_tokenizer() -> Value {
    let vocab: Map<String, Value> = (0..=255).map(|b| (spelling(b).to_string(), json!(b))).collect();
    let bytes = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false });
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": bytes, "post_processor": null, "decoder": bytes,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": [],
        },
    })
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    fs::write(path, format!("{value:#}\n")).map_err(|e| Fault::writing(path, &e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Like;
    use oops_model::{Checkpoint, DType};

    #[test]
    fn a_written_model_opens_and_every_byte_is_a_token() {
        let folder = tempfile::tempdir().unwrap();
        let spec = ModelSpec { config: Like::SmolLm2135m.config(Some(1), DType::BF16), seed: 3 };
        let path = folder.path().join("model");
        let mut heard = Vec::new();
        write_model(&spec, &path, &mut |i, n| heard.push((i, n))).unwrap();
        let model = Checkpoint::open_path(&path).unwrap();
        assert_eq!(model.config().dims, spec.config.dims);
        assert_eq!(heard, [(1, 1)]);
        let text = "Bytes, ümlauts\n\t and ☃.";
        let tokenizer = model.tokenizer().unwrap();
        let ids = tokenizer.encode(text).unwrap();
        assert_eq!(ids, text.bytes().map(u32::from).collect::<Vec<_>>());
        assert_eq!(tokenizer.decode(&ids).unwrap(), text);
        let block = model.block(0).unwrap();
        let weights = oops_model::values(&block.down.weight).unwrap();
        let variance = weights.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>() / weights.len() as f64;
        assert!((variance * 1536.0 - 1.0).abs() < 0.02, "{variance}");
        assert!(write_model(&spec, &path, &mut |_, _| ()).unwrap_err().to_string().contains("not empty"));
    }
}
