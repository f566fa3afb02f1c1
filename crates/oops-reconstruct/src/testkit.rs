//! Tiny modules, and tiny random models, token sets and plans as artifacts in a temporary folder.

use std::{collections::BTreeMap, fs, path::Path};

use candle_core::{Device, Tensor};
use oops_artifact::{Artifact, Kind, PlanInfo, TokenSet, write_plan};
use oops_core::{BlockDims, Fault, ModelDims, Plan, Rng};
use oops_linalg::{Gram, reconstruction_error};
use oops_model::{
    Block, DType, Family, Linear, ModelConfig, Rope, RopeScaling, block_file, hf_config_with_biases, hf_index,
    shard_contents, write_block, write_outer,
};
use oops_stage::{Inputs, Workdir};

use crate::problem::{Module, Tokens};

pub(crate) const HIDDEN: usize = 16;
pub(crate) const DIMS: BlockDims = BlockDims { query_heads: 4, kv_heads: 2, head_dim: 4, ffn: 24 };
const VOCAB: usize = 50;

/// Uniform noise in ±`scale`.
pub(crate) fn noise(shape: &[usize], seed: u64, scale: f32) -> Tensor {
    let mut rng = Rng::new(seed, "noise");
    let n = shape.iter().product::<usize>();
    let values: Vec<f32> = (0..n).map(|_| (2.0 * rng.uniform() - 1.0) as f32 * scale).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// A module of `channels` × `outputs` of which every third unit of `unit` channels goes, and correlated inputs with a mean.
pub(crate) fn case(channels: usize, outputs: usize, unit: usize) -> (Module, Tokens) {
    let rows = 4 * channels;
    let mut x = oops_model::values(&noise(&[rows, channels], 1, 1.0)).unwrap();
    for row in x.chunks_mut(channels) {
        (1..channels).for_each(|j| row[j] += 0.7 * row[j - 1]);
        row.iter_mut().enumerate().for_each(|(j, v)| *v += 0.3 + 0.1 * (j % 5) as f32);
    }
    let mut gram = Gram::new(channels);
    gram.add(&x).unwrap();
    gram.scale(1.0 / rows as f32);
    let mean = |j: usize| x.iter().skip(j).step_by(channels).map(|&v| f64::from(v)).sum::<f64>() / rows as f64;
    let weight = oops_model::values(&noise(&[channels, outputs], 2, 1.0)).unwrap();
    let kept = (0..channels).filter(|j| j / unit % 3 != 1).collect();
    let tokens = Tokens { gram: gram.to_packed(), mean: (0..channels).map(mean).collect(), shift: None };
    (Module { weight, channels, outputs, kept, unit }, tokens)
}

/// Relative squared error of a repaired weight.
pub(crate) fn error(module: &Module, tokens: &Tokens, weight: &[f32]) -> f64 {
    reconstruction_error(&module.linear(tokens).unwrap(), &module.kept, weight, None).unwrap()
}

/// μ_SᵀV.
pub(crate) fn mean_output(tokens: &Tokens, kept: &[usize], weight: &[f32], outputs: usize) -> Vec<f64> {
    let along =
        |k: usize| kept.iter().enumerate().map(move |(i, &j)| tokens.mean[j] * f64::from(weight[i * outputs + k]));
    (0..outputs).map(|k| along(k).sum()).collect()
}

/// A random block; its last projections have biases.
pub(crate) fn block(seed: u64) -> Block {
    let inner = |i: u64, out: usize, inputs: usize| Linear {
        weight: noise(&[out, inputs], seed * 100 + i, 1.5 / (HIDDEN as f32).sqrt()),
        bias: None,
    };
    let layer = |i: u64, inputs: usize| Linear {
        bias: Some(noise(&[HIDDEN], seed * 100 + 50 + i, 0.1)),
        ..inner(i, HIDDEN, inputs)
    };
    let norm = |i: u64, n: usize| (noise(&[n], seed * 100 + 90 + i, 0.2) + 1.0).unwrap();
    let (wide, narrow) = (DIMS.query_heads * DIMS.head_dim, DIMS.kv_heads * DIMS.head_dim);
    Block {
        dims: DIMS,
        input_norm: norm(0, HIDDEN),
        q: inner(0, wide, HIDDEN),
        k: inner(1, narrow, HIDDEN),
        v: inner(2, narrow, HIDDEN),
        o: layer(3, wide),
        q_norm: None,
        k_norm: None,
        ffn_norm: norm(3, HIDDEN),
        gate: inner(4, DIMS.ffn, HIDDEN),
        up: inner(5, DIMS.ffn, HIDDEN),
        down: layer(6, DIMS.ffn),
    }
}

/// A configuration of that many blocks.
pub(crate) fn config(blocks: usize) -> ModelConfig {
    ModelConfig {
        family: Family::Llama,
        dims: ModelDims { hidden: HIDDEN, vocab: VOCAB, tied: true, gated: true, blocks: vec![DIMS; blocks] },
        norm_eps: 1e-6,
        rope: Rope { theta: 10_000.0, scaling: RopeScaling::None },
        max_position: 2048,
        sliding_window: None,
        bos: Some(1),
        eos: vec![2],
        dtype: DType::F32,
    }
}

/// The artifact that a finished stage run leaves.
pub(crate) fn artifact(kind: Kind, work: &Workdir) -> Artifact {
    let finished = work.finish();
    let paths: BTreeMap<_, _> = finished.fresh.into_iter().chain(finished.linked).collect();
    Artifact { kind, tree: finished.tree, paths }
}

/// A checkpoint of random blocks in `folder`.
pub(crate) fn model(folder: &Path, blocks: usize) -> Artifact {
    let work = Workdir::open(folder).unwrap();
    let text = |name: &str, text: String| {
        work.write(name, |path| fs::write(path, &text).map_err(|e| Fault::writing(path, &e))).unwrap();
    };
    for l in 0..blocks {
        work.write(&block_file(l), |path| write_block(path, l, &block(l as u64 + 1), &DType::F32)).unwrap();
    }
    let (embedding, norm) = (noise(&[VOCAB, HIDDEN], 7, 1.0), noise(&[HIDDEN], 8, 1.0));
    let outer = "model-outer.safetensors".to_owned();
    work.write(&outer, |path| write_outer(path, &embedding, &norm, None, &DType::F32)).unwrap();
    let shard = |name: String| {
        let (tensors, bytes) = shard_contents(&work.path(&name)).unwrap();
        (name, tensors, bytes)
    };
    let shards: Vec<_> = (0..blocks).map(block_file).chain([outer]).map(shard).collect();
    text("config.json", hf_config_with_biases(&config(blocks)).to_string());
    text("model.safetensors.index.json", hf_index(&shards).to_string());
    text("tokenizer.json", "{}".to_owned());
    artifact(Kind::Model, &work)
}

/// `sequences` random sequences of `length` tokens in `folder`.
pub(crate) fn tokens(folder: &Path, sequences: usize, length: usize) -> Artifact {
    let work = Workdir::open(folder).unwrap();
    let mut rng = Rng::new(3, "tokens");
    let mut set =
        TokenSet::of((0..sequences).map(|_| (0..length).map(|_| rng.below(VOCAB) as u32).collect()).collect(), VOCAB);
    set.info.packing = "packed".to_owned();
    set.info.sequence_tokens = Some(length);
    set.write(&work).unwrap();
    artifact(Kind::Tokens, &work)
}

/// `plan` as an artifact in `folder`.
pub(crate) fn plan(folder: &Path, plan: &Plan) -> Artifact {
    let (work, before) = (Workdir::open(folder).unwrap(), config(plan.blocks.len()).dims);
    let info = PlanInfo {
        method: "by hand".to_owned(),
        remove_fraction: 0.5,
        removed_fraction: 0.5,
        removed_params: plan.removed_params(&before),
        after: plan.apply(&before),
        before,
        details: serde_json::Value::Null,
    };
    write_plan(&work, plan, &info).unwrap();
    artifact(Kind::Plan, &work)
}

/// Inputs of a stage on the pruned stream.
pub(crate) fn inputs(model: Artifact, plan: Artifact, tokens: Artifact) -> Inputs {
    let ports = [("model", model), ("plan", plan), ("tokens", tokens)];
    Inputs { ports: ports.map(|(name, a)| (name.to_owned(), vec![a])).into(), sources: Vec::new() }
}
