//! Checkpoints for tests: reference models outside the repository, and small random ones made here.

use std::path::PathBuf;

use candle_core::{Device, Tensor};
use oops_core::{BlockDims, ModelDims};

use crate::{
    Block, Checkpoint, DType, Decoder, Family, Linear, ModelConfig, Rope, RopeScaling, kernels::testing::noise,
};

/// The tiny random models with reference logits.
pub(crate) const TINY: [&str; 7] =
    ["llama-gqa", "llama-mha-tied", "llama-bias-headdim", "llama3-rope", "mistral-swa", "qwen2", "qwen3"];

/// A path under `OOPS_FIXTURES`. A test that calls this is ignored unless the user asks for ignored tests.
pub(crate) fn fixture(path: &str) -> PathBuf {
    PathBuf::from(std::env::var_os("OOPS_FIXTURES").expect("OOPS_FIXTURES names the folder of fixtures")).join(path)
}

/// Noise as a tensor.
pub(crate) fn random(shape: &[usize], seed: u64, scale: f32) -> Tensor {
    let values: Vec<f32> = noise(shape.iter().product(), seed).iter().map(|v| v * scale).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// A block with every optional part, of the given widths.
pub(crate) fn random_block(hidden: usize, dims: BlockDims, seed: u64) -> Block {
    let scale = 2.0 / (hidden as f32).sqrt();
    let layer = |i: u64, out: usize, inputs: usize| Linear {
        weight: random(&[out, inputs], seed * 100 + i, scale),
        bias: Some(random(&[out], seed * 100 + 50 + i, 0.1)),
    };
    let norm = |i: u64, n: usize| (random(&[n], seed * 100 + 90 + i, 0.2) + 1.0).unwrap();
    let (wide, narrow) = (dims.query_heads * dims.head_dim, dims.kv_heads * dims.head_dim);
    Block {
        dims,
        input_norm: norm(0, hidden),
        q: layer(0, wide, hidden),
        k: layer(1, narrow, hidden),
        v: layer(2, narrow, hidden),
        o: layer(3, hidden, wide),
        q_norm: Some(norm(1, dims.head_dim)),
        k_norm: Some(norm(2, dims.head_dim)),
        ffn_norm: norm(3, hidden),
        gate: layer(4, dims.ffn, hidden),
        up: layer(5, dims.ffn, hidden),
        down: layer(6, hidden, dims.ffn),
    }
}

/// A configuration around blocks of the given widths.
pub(crate) fn config(family: Family, hidden: usize, blocks: Vec<BlockDims>) -> ModelConfig {
    ModelConfig {
        family,
        dims: ModelDims { hidden, vocab: 50, tied: false, gated: true, blocks },
        norm_eps: 1e-6,
        rope: Rope { theta: 10_000.0, scaling: RopeScaling::None },
        max_position: 256,
        sliding_window: None,
        bos: Some(1),
        eos: vec![2],
        dtype: DType::F32,
    }
}

/// Logits of packed sequences through all blocks; `edit` may change each block first.
pub(crate) fn logits(
    model: &Checkpoint,
    ids: &[u32],
    lengths: &[usize],
    edit: impl Fn(usize, Block) -> Block,
) -> Tensor {
    let decoder = Decoder::new(model.config(), lengths.iter().copied().max().unwrap()).unwrap();
    let mut x = decoder.embed(&model.embedding().unwrap(), ids).unwrap();
    for l in 0..model.config().dims.blocks.len() {
        x = decoder.block(&edit(l, model.block(l).unwrap()), &x, lengths, &mut |_, _| Ok(())).unwrap();
    }
    decoder.logits(&model.final_norm().unwrap(), &model.head().unwrap(), &x).unwrap()
}

/// Largest absolute difference of two tensors.
pub(crate) fn max_diff(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.dims(), b.dims());
    crate::kernels::testing::max_diff(&crate::values(a).unwrap(), &crate::values(b).unwrap())
}
