//! Small models for tests.

use std::{collections::BTreeMap, fs, path::Path};

use oops_core::{BlockDims, ModelDims, Rng};
use oops_model::{
    Block, Checkpoint, DType, Family, Linear, ModelConfig, Rope, RopeScaling, block_file, hf_config_with_biases,
    matrix, vector, write_block, write_outer,
};

/// Numbers between ±0.3, others for every name: large enough that scores of attention differ.
fn noise(name: &str, n: usize) -> Vec<f32> {
    let mut rng = Rng::new(0, name);
    (0..n).map(|_| (0.6 * rng.uniform() - 0.3) as f32).collect()
}

/// Linear layers in `biased` get a bias.
fn block(l: usize, dims: BlockDims, family: Family, biased: &[&str]) -> Block {
    let layer = |name: &str, out: usize, width: usize| Linear {
        weight: matrix(noise(&format!("{l}.{name}"), out * width), out, width).unwrap(),
        bias: biased.contains(&name).then(|| vector(noise(&format!("{l}.{name}.bias"), out)).unwrap()),
    };
    let (wide, narrow) = (dims.query_heads * dims.head_dim, dims.kv_heads * dims.head_dim);
    let scales =
        |name: &str, n: usize| vector(noise(&format!("{l}.{name}"), n).into_iter().map(|v| 1.0 + v).collect()).unwrap();
    let head_norm = |name: &str| (family == Family::Qwen3).then(|| scales(name, dims.head_dim));
    Block {
        dims,
        input_norm: scales("input_norm", 32),
        q: layer("q", wide, 32),
        k: layer("k", narrow, 32),
        v: layer("v", narrow, 32),
        o: layer("o", 32, wide),
        q_norm: head_norm("q_norm"),
        k_norm: head_norm("k_norm"),
        ffn_norm: scales("ffn_norm", 32),
        gate: layer("gate", dims.ffn, 32),
        up: layer("up", dims.ffn, 32),
        down: layer("down", 32, dims.ffn),
    }
}

/// A model of hidden width 32, written to `dir`.
pub(crate) fn model(dir: &Path, family: Family, blocks: &[BlockDims], biased: &[&str]) -> Checkpoint {
    save(dir, &config(family, blocks), biased)
}

/// Its configuration.
pub(crate) fn config(family: Family, blocks: &[BlockDims]) -> ModelConfig {
    ModelConfig {
        family,
        dims: ModelDims { hidden: 32, vocab: 11, tied: true, gated: true, blocks: blocks.to_vec() },
        norm_eps: 1e-5,
        rope: Rope { theta: 1e4, scaling: RopeScaling::None },
        max_position: 64,
        sliding_window: None,
        bos: None,
        eos: vec![],
        dtype: DType::F32,
    }
}

/// Writes a model of this configuration to `dir`.
pub(crate) fn save(dir: &Path, config: &ModelConfig, biased: &[&str]) -> Checkpoint {
    let mut files = BTreeMap::new();
    let mut put = |name: String| files.entry(name.clone()).or_insert(dir.join(name)).clone();
    for (l, dims) in config.dims.blocks.iter().enumerate() {
        write_block(&put(block_file(l)), l, &block(l, *dims, config.family, biased), &DType::F32).unwrap();
    }
    let head = (!config.dims.tied).then(|| matrix(noise("head", 11 * 32), 11, 32).unwrap());
    let norm = vector(vec![1.0; 32]).unwrap();
    write_outer(
        &put("outer.safetensors".to_owned()),
        &matrix(noise("embedding", 11 * 32), 11, 32).unwrap(),
        &norm,
        head.as_ref(),
        &DType::F32,
    )
    .unwrap();
    fs::write(put("config.json".to_owned()), hf_config_with_biases(config).to_string()).unwrap();
    Checkpoint::open(&files).unwrap()
}
