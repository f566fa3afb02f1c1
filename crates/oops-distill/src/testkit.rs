//! Tiny random models and token sets as artifacts in a temporary folder.

use std::{collections::BTreeMap, fs, path::Path};

use candle_core::{Device, Tensor};
use oops_artifact::{Artifact, Kind, TokenSet};
use oops_core::{BlockDims, Fault, ModelDims, Rng};
use oops_model::{
    Block, DType, Family, Linear, ModelConfig, Rope, RopeScaling, block_file, hf_config_with_biases, hf_index,
    shard_contents, write_block, write_outer,
};
use oops_stage::{Inputs, Workdir};

/// Uniform noise in ±`scale`.
pub(crate) fn noise(shape: &[usize], seed: u64, scale: f32) -> Tensor {
    let mut rng = Rng::new(seed, "noise");
    let n = shape.iter().product::<usize>();
    let values: Vec<f32> = (0..n).map(|_| (2.0 * rng.uniform() - 1.0) as f32 * scale).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// A random block; its last projections have biases.
pub(crate) fn block(hidden: usize, dims: BlockDims, seed: u64) -> Block {
    let layer = |i: u64, out: usize, inputs: usize| Linear {
        weight: noise(&[out, inputs], seed * 100 + i, 1.5 / (hidden as f32).sqrt()),
        bias: (out == hidden).then(|| noise(&[out], seed * 100 + 50 + i, 0.1)),
    };
    let norm = |i: u64, n: usize| (noise(&[n], seed * 100 + 90 + i, 0.2) + 1.0).unwrap();
    let (wide, narrow) = (dims.query_heads * dims.head_dim, dims.kv_heads * dims.head_dim);
    Block {
        dims,
        input_norm: norm(0, hidden),
        q: layer(0, wide, hidden),
        k: layer(1, narrow, hidden),
        v: layer(2, narrow, hidden),
        o: layer(3, hidden, wide),
        q_norm: None,
        k_norm: None,
        ffn_norm: norm(3, hidden),
        gate: layer(4, dims.ffn, hidden),
        up: layer(5, dims.ffn, hidden),
        down: layer(6, hidden, dims.ffn),
    }
}

/// A configuration around blocks of these widths.
pub(crate) fn config(hidden: usize, blocks: Vec<BlockDims>) -> ModelConfig {
    ModelConfig {
        family: Family::Llama,
        dims: ModelDims { hidden, vocab: 50, tied: true, gated: true, blocks },
        norm_eps: 1e-6,
        rope: Rope { theta: 10_000.0, scaling: RopeScaling::None },
        max_position: 2048,
        sliding_window: None,
        bos: Some(1),
        eos: vec![2],
        dtype: DType::F32,
    }
}

fn artifact(kind: Kind, work: &Workdir) -> Artifact {
    let finished = work.finish();
    let paths: BTreeMap<_, _> = finished.fresh.into_iter().chain(finished.linked).collect();
    Artifact { kind, tree: finished.tree, paths }
}

/// The artifact that a finished stage run leaves.
pub(crate) fn model_of(work: &Workdir) -> Artifact {
    artifact(Kind::Model, work)
}

/// A checkpoint of `blocks` in `folder`.
pub(crate) fn model(folder: &Path, hidden: usize, blocks: &[Block]) -> Artifact {
    let work = Workdir::open(folder).unwrap();
    let config = config(hidden, blocks.iter().map(|b| b.dims).collect());
    let text = |name: &str, text: String| {
        work.write(name, |path| fs::write(path, &text).map_err(|e| Fault::writing(path, &e))).unwrap();
    };
    for (l, block) in blocks.iter().enumerate() {
        work.write(&block_file(l), |path| write_block(path, l, block, &DType::F32)).unwrap();
    }
    let (embedding, norm) = (noise(&[50, hidden], 7, 1.0), noise(&[hidden], 8, 1.0));
    let outer = "model-outer.safetensors".to_owned();
    work.write(&outer, |path| write_outer(path, &embedding, &norm, None, &DType::F32)).unwrap();
    let shard = |name: String| {
        let (tensors, bytes) = shard_contents(&work.path(&name)).unwrap();
        (name, tensors, bytes)
    };
    let shards: Vec<_> = (0..blocks.len()).map(block_file).chain([outer]).map(shard).collect();
    text("config.json", hf_config_with_biases(&config).to_string());
    text("model.safetensors.index.json", hf_index(&shards).to_string());
    text("tokenizer.json", "{}".to_owned());
    model_of(&work)
}

/// `sequences` random sequences of `length` tokens in `folder`.
pub(crate) fn tokens(folder: &Path, sequences: usize, length: usize) -> Artifact {
    let (work, mut rng) = (Workdir::open(folder).unwrap(), Rng::new(3, "tokens"));
    let sequences = (0..sequences).map(|_| (0..length).map(|_| rng.below(50) as u32).collect()).collect();
    let mut set = token_set(sequences);
    set.info.sequence_tokens = Some(length);
    set.write(&work).unwrap();
    artifact(Kind::Tokens, &work)
}

/// A token set of these sequences.
pub(crate) fn token_set(sequences: Vec<Vec<u32>>) -> TokenSet {
    let mut set = TokenSet::of(sequences, 50);
    set.info.packing = "packed".to_owned();
    set
}

/// Inputs of `distill.blockwise`.
pub(crate) fn inputs(student: Artifact, teacher: Artifact, tokens: Artifact) -> Inputs {
    let ports = [("student", student), ("teacher", teacher), ("tokens", tokens)];
    Inputs { ports: ports.map(|(name, a)| (name.to_owned(), vec![a])).into(), sources: Vec::new() }
}
