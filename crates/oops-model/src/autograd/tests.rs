//! Laws of the differentiable decoder: equal to the streaming one, and its gradients are those of finite differences.

use candle_core::{Tensor, Var};
use oops_core::BlockDims;

use super::*;
use crate::{
    Decoder, Family, RopeScaling,
    fixtures::{config, max_diff, random, random_block},
    kernels::testing::with_threads,
};

const DIMS: BlockDims = BlockDims { query_heads: 6, kv_heads: 2, head_dim: 8, ffn: 40 };
const HIDDEN: usize = 32;

fn variants() -> Vec<(ModelConfig, Block)> {
    let plain = config(Family::Llama, HIDDEN, vec![DIMS]);
    let mut bare = random_block(HIDDEN, DIMS, 1);
    (bare.q_norm, bare.k_norm) = (None, None);
    for layer in [&mut bare.q, &mut bare.k, &mut bare.v, &mut bare.o, &mut bare.gate, &mut bare.up, &mut bare.down] {
        layer.bias = None;
    }
    let mut windowed = plain.clone();
    windowed.sliding_window = Some(5);
    let mut stretched = plain.clone();
    stretched.rope.scaling =
        RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_max_position: 32 };
    let full = || random_block(HIDDEN, DIMS, 2);
    let headless = random_block(HIDDEN, BlockDims { query_heads: 0, kv_heads: 0, ..DIMS }, 3);
    let narrow = random_block(HIDDEN, BlockDims { ffn: 0, ..DIMS }, 4);
    let mut all = vec![(plain.clone(), bare), (plain.clone(), full()), (windowed, full()), (stretched, full())];
    for block in [headless, narrow] {
        let mut config = plain.clone();
        config.dims.blocks[0] = block.dims;
        all.push((config, block));
    }
    all
}

#[test]
fn equals_the_streaming_decoder_in_every_variant() {
    for (i, (config, block)) in variants().iter().enumerate() {
        let (batch, tokens) = (3, 13);
        let decoder = Decoder::new(config, tokens).unwrap();
        let (embedding, norm) = (random(&[50, HIDDEN], 7, 1.0), random(&[HIDDEN], 8, 1.0));
        let ids: Vec<u32> = (0..batch * tokens).map(|i| (i * 7 % 50) as u32).collect();
        let x = embed(&embedding, &ids, tokens).unwrap();
        let y = block_forward(config, block, &x).unwrap();
        let ours = logits(config, &norm, &embedding, &y).unwrap();

        let packed = decoder.embed(&embedding, &ids).unwrap();
        let lengths = vec![tokens; batch];
        let y = decoder.block(block, &packed, &lengths, &mut |_, _| Ok(())).unwrap();
        let theirs = decoder.logits(&norm, &embedding, &y).unwrap();
        assert!(max_diff(&ours, &theirs) <= 1e-4, "variant {i}: {}", max_diff(&ours, &theirs));

        let targets: Vec<u32> = (0..ids.len()).map(|i| (i * 11 % 50) as u32).collect();
        let mean = crate::cross_entropy(&theirs, &targets).unwrap().iter().sum::<f64>() / ids.len() as f64;
        assert!((f64::from(loss(&ours, &targets).unwrap().to_scalar::<f32>().unwrap()) - mean).abs() < 1e-5);
    }
}

/// The block with every weight as a variable, and the variables.
fn vary(block: &Block) -> (Block, Vec<Var>) {
    let mut vars = Vec::new();
    let mut var = |t: &Tensor| {
        vars.push(Var::from_tensor(t).unwrap());
        vars[vars.len() - 1].as_tensor().clone()
    };
    let mut layer = |l: &Linear| Linear { weight: var(&l.weight), bias: l.bias.as_ref().map(&mut var) };
    let [q, k, v, o] = [&block.q, &block.k, &block.v, &block.o].map(&mut layer);
    let [gate, up, down] = [&block.gate, &block.up, &block.down].map(&mut layer);
    let [input_norm, ffn_norm] = [&block.input_norm, &block.ffn_norm].map(&mut var);
    let [q_norm, k_norm] = [&block.q_norm, &block.k_norm].map(|n| n.as_ref().map(&mut var));
    (Block { dims: block.dims, input_norm, q, k, v, o, q_norm, k_norm, ffn_norm, gate, up, down }, vars)
}

/// Loss of a one-block model over 2 × 9 tokens.
fn objective(config: &ModelConfig, block: &Block, embedding: &Tensor, norm: &Tensor) -> Tensor {
    let ids: Vec<u32> = (0..18).map(|i| i * 5 % 50).collect();
    let targets: Vec<u32> = (0..18).map(|i| i * 3 % 50).collect();
    let x = embed(embedding, &ids, 9).unwrap();
    let y = block_forward(config, block, &x).unwrap();
    loss(&logits(config, norm, embedding, &y).unwrap(), &targets).unwrap()
}

#[test]
fn gradients_equal_finite_differences_for_every_weight() {
    for (i, (config, block)) in variants().iter().enumerate() {
        let (block, mut vars) = vary(block);
        let embedding = Var::from_tensor(&random(&[50, HIDDEN], 7, 0.5)).unwrap();
        let norm = Var::from_tensor(&(random(&[HIDDEN], 8, 0.2) + 1.0).unwrap()).unwrap();
        vars.extend([embedding.clone(), norm.clone()]);
        let value = || objective(config, &block, embedding.as_tensor(), norm.as_tensor());
        let grads = value().backward().unwrap();
        // Without heads or channels, what comes before that site does not reach the loss.
        let cut = block.dims.query_heads == 0 || block.dims.ffn == 0;
        for (j, var) in vars.iter().enumerate() {
            if cut && grads.get(var).is_none() {
                continue;
            }
            let grad = grads.get(var).unwrap_or_else(|| panic!("variant {i}: weight {j} got no gradient"));
            let size = grad.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
            // Along the gradient itself the slope is its norm.
            let step = 4e-3 / size.max(1e-3);
            let at = |scale: f32| {
                let before = var.copy().unwrap();
                var.set(&(&before + (grad * f64::from(scale * step)).unwrap()).unwrap()).unwrap();
                let loss = f64::from(value().to_scalar::<f32>().unwrap());
                var.set(&before).unwrap();
                loss
            };
            let slope = (at(1.0) - at(-1.0)) / f64::from(2.0 * step * size);
            let wrong = (slope - f64::from(size)).abs();
            assert!(wrong < 2e-2 * f64::from(size) + 2e-4, "variant {i}, weight {j}: {slope} for {size}");
        }
    }
}

#[test]
fn a_tap_can_take_the_place_of_a_site() {
    let (config, block) = variants().swap_remove(1);
    let x = random(&[1, 4, HIDDEN], 5, 1.0);
    let mut seen = Vec::new();
    let y = block_forward_tapped(&config, &block, &x, &mut |site, t| {
        seen.push((site, t.dims().to_vec()));
        t.zeros_like().lift()
    })
    .unwrap();
    assert_eq!(seen, [(Site::AttnOut, vec![1, 4, 48]), (Site::MlpDown, vec![1, 4, 40])]);
    let biases = (block.o.bias.unwrap() + block.down.bias.unwrap()).unwrap();
    assert!(max_diff(&y, &x.broadcast_add(&biases).unwrap()) < 1e-6);
}

#[test]
fn threads_do_not_change_a_bit() {
    let (config, block) = variants().swap_remove(1);
    let run = |threads| {
        with_threads(threads, || {
            let (block, vars) = vary(&block);
            let x = random(&[4, 100, HIDDEN], 5, 1.0);
            let y = block_forward(&config, &block, &x).unwrap();
            let grads = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            vars.iter().map(|v| crate::values(grads.get(v).unwrap()).unwrap()).collect::<Vec<_>>()
        })
    };
    assert!(run(1) == run(2));
}
