//! Measures the decoder against the machine: model FLOP/s of a block of SmolLM2-135M's shape, and the f32 GEMM ceiling.
//!
//! `cargo run -p oops-model --example throughput -- [sequences] [tokens]`

use std::time::Instant;

use candle_core::{Device, Tensor};
use oops_core::{BlockDims, Fault, ModelDims, Result, Site};
use oops_model::{Block, DType, Decoder, Family, Linear, ModelConfig, Rope, RopeScaling, gemm_ceiling};

const HIDDEN: usize = 576;
const DIMS: BlockDims = BlockDims { query_heads: 9, kv_heads: 3, head_dim: 64, ffn: 1536 };

fn random(shape: &[usize], scale: f32) -> Result<Tensor> {
    Tensor::randn(0.0, scale, shape, &Device::Cpu).map_err(|e| Fault::internal(e.to_string()))
}

fn block() -> Result<Block> {
    let layer = |out: usize, inputs: usize| Ok(Linear { weight: random(&[out, inputs], 0.04)?, bias: None });
    let (wide, narrow) = (DIMS.width(Site::AttnOut), DIMS.kv_heads * DIMS.head_dim);
    Ok(Block {
        dims: DIMS,
        input_norm: random(&[HIDDEN], 1.0)?,
        q: layer(wide, HIDDEN)?,
        k: layer(narrow, HIDDEN)?,
        v: layer(narrow, HIDDEN)?,
        o: layer(HIDDEN, wide)?,
        q_norm: None,
        k_norm: None,
        ffn_norm: random(&[HIDDEN], 1.0)?,
        gate: layer(DIMS.ffn, HIDDEN)?,
        up: layer(DIMS.ffn, HIDDEN)?,
        down: layer(HIDDEN, DIMS.ffn)?,
    })
}

fn config() -> ModelConfig {
    ModelConfig {
        family: Family::Llama,
        dims: ModelDims { hidden: HIDDEN, vocab: 49152, tied: true, gated: true, blocks: vec![DIMS; 30] },
        norm_eps: 1e-5,
        rope: Rope { theta: 100_000.0, scaling: RopeScaling::None },
        max_position: 8192,
        sliding_window: None,
        bos: None,
        eos: Vec::new(),
        dtype: DType::F32,
    }
}

/// FLOPs of one block: two per weight and token, and the visible half of both attention products.
fn flops(sequences: usize, tokens: usize) -> f64 {
    let linear = 2.0 * config().dims.block_params(0) as f64 * (sequences * tokens) as f64;
    let visible = sequences as f64 * tokens as f64 * (tokens + 1) as f64 / 2.0;
    linear + 4.0 * visible * DIMS.width(Site::AttnOut) as f64
}

/// CPU seconds of all threads so far, where the system tells (Linux): a measure that busy neighbours disturb less.
fn cpu_seconds() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let text = tasks.filter_map(|t| std::fs::read_to_string(t.path().join("schedstat")).ok());
    text.filter_map(|t| t.split(' ').next()?.parse::<f64>().ok()).sum::<f64>() / 1e9
}

#[expect(clippy::print_stdout, reason = "the example's output")]
fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).map(|a| a.parse::<usize>());
    let mut next = |default| arguments.next().and_then(std::result::Result::ok).unwrap_or(default);
    let (sequences, tokens) = (next(8), next(512));
    let (decoder, block) = (Decoder::new(&config(), tokens)?, block()?);
    let mut x = random(&[sequences * tokens, HIDDEN], 1.0)?;
    let lengths = vec![tokens; sequences];
    let (mut best, mut cpu) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..12 {
        let (start, before) = (Instant::now(), cpu_seconds());
        x = decoder.block(&block, &x, &lengths, &mut |_, _| Ok(()))?;
        best = best.min(start.elapsed().as_secs_f64());
        cpu = cpu.min(cpu_seconds() - before);
    }
    let before = cpu_seconds();
    let ceiling = gemm_ceiling()?;
    let cpu_ceiling = 3.0 * 2.0 * 2048f64.powi(3) / (cpu_seconds() - before) / 1e9;
    let (rate, cpu_rate) = (flops(sequences, tokens) / best / 1e9, flops(sequences, tokens) / cpu / 1e9);
    println!(
        "{sequences} x {tokens} tokens: {:.1} ms per block, {rate:.0} of {ceiling:.0} GFLOP/s ({:.0} %); per CPU second {cpu_rate:.0} of {cpu_ceiling:.0} ({:.0} %)",
        best * 1e3,
        100.0 * rate / ceiling,
        100.0 * cpu_rate / cpu_ceiling,
    );
    Ok(())
}
