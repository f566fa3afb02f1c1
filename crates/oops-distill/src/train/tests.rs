//! The step on our kernels against the tensor library's automatic gradients: the same descent, in less time.

use std::{path::PathBuf, time::Instant};

use candle_core::Var;
use oops_core::BlockDims;
use oops_model::{Checkpoint, ModelConfig, autograd, gemm_ceiling, values};

use super::*;
use crate::testkit;

/// Loss and gradients of a batch of sequences of one length by automatic differentiation.
fn automatic(config: &ModelConfig, block: &Block, x: &[Tensor], y: &[Tensor], scale: f64) -> (f64, Vec<Tensor>) {
    let mut vars = Vec::new();
    let watched = block.map(&mut |_, _, t| {
        vars.push(Var::from_tensor(t).map_err(fault)?);
        Ok(vars[vars.len() - 1].as_tensor().clone())
    });
    let f = autograd::block_forward(config, &watched.unwrap(), &Tensor::stack(x, 0).unwrap()).unwrap();
    let f = f.flatten_to(1).unwrap();
    let weights: Vec<Vec<f32>> = y.iter().map(|y| vec![1.0; y.dims()[0]]).collect();
    let targets: Vec<_> = y.iter().zip(&weights).map(|(y, weights)| Target { y: y.clone(), weights }).collect();
    let (loss, gradient) = objective::loss(&f, &targets, scale).unwrap();
    // The derivative of ⟨f, gradient⟩ by f is the gradient.
    let grads = (&f * gradient).and_then(|p| p.sum_all()?.backward()).unwrap();
    (loss, vars.iter().map(|v| grads.get(v).unwrap().clone()).collect())
}

fn shelf(tensors: &[Tensor]) -> Shelf {
    let mut shelf = Shelf::new(None).unwrap();
    tensors.iter().for_each(|t| shelf.push(t.clone()).unwrap());
    shelf
}

fn worst(a: &Tensor, b: &Tensor) -> f32 {
    let (a, b) = (values(a).unwrap(), values(b).unwrap());
    a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn trainer<'a>(decoder: &'a Decoder, recipe: &'a Recipe, data: Data<'a>) -> Trainer<'a> {
    Trainer { decoder, recipe, data }
}

fn recipe() -> Recipe {
    Recipe {
        learning_rate: 1e-3,
        epochs: 1,
        batch_sequences: 2,
        warmup_fraction: 0.0,
        clip: 1e9,
        evaluations_per_epoch: 1,
        patience: 0,
        retries: 0,
        lora_rank: None,
        dtype: DType::F32,
    }
}

#[test]
fn a_step_descends_along_the_automatic_gradient() {
    let dims = BlockDims { query_heads: 4, kv_heads: 2, head_dim: 4, ffn: 24 };
    let (config, block) = (testkit::config(16, vec![dims]), testkit::block(16, dims, 1));
    let (decoder, recipe) = (Decoder::new(&config, 12).unwrap(), recipe());
    let noise = |seed| testkit::noise(&[12, 16], seed, 1.0);
    let (x, y) = ([noise(1), noise(2), noise(3)], [noise(4), noise(5), noise(6)]);
    let split = Split { fit: vec![0, 1], heldout: vec![2], judges: vec![vec![true; 12]], leaked: 0 };
    let (xs, ys) = (shelf(&x), shelf(&y));
    let trainer = trainer(&decoder, &recipe, Data::new(&xs, &ys, &split, 0.0).unwrap());
    let trainable = Trainable::new(&block, None, &mut Rng::new(1, "x")).unwrap();
    let mut adam = AdamW::new(trainable.tensors(), recipe.clip);
    let loss = trainer.step(&trainable, &mut adam, &[0, 1], 1e-3).unwrap().unwrap();
    let (expected, gradients) = automatic(&config, &block, &x[..2], &y[..2], trainer.data.scale * 24.0);
    assert!((loss - expected).abs() < 1e-6 * expected);
    // After one step m = (1 − β₁)·g.
    for (gradient, moments) in gradients.iter().zip(&adam.moments) {
        let ours = oops_model::vector(moments.first.iter().map(|m| m / 0.1).collect()).unwrap();
        assert!(worst(&ours, &gradient.flatten_all().unwrap()) < 1e-4);
    }
}

/// CPU seconds of all threads so far, where the system tells (Linux): busy neighbours disturb them less than the clock.
fn cpu_seconds() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let text = tasks.filter_map(|t| std::fs::read_to_string(t.path().join("schedstat")).ok());
    text.filter_map(|t| t.split(' ').next()?.parse::<f64>().ok()).sum::<f64>() / 1e9
}

/// Least CPU milliseconds, and least milliseconds by the clock, of a few calls.
fn best(mut f: impl FnMut()) -> [f64; 2] {
    let timed = |_| {
        let (start, before) = (Instant::now(), cpu_seconds());
        f();
        [cpu_seconds() - before, start.elapsed().as_secs_f64()]
    };
    (0..8).map(timed).fold([f64::INFINITY; 2], |a, b| [a[0].min(1e3 * b[0]), a[1].min(1e3 * b[1])])
}

/// `OOPS_FIXTURES=… cargo test --workspace step_speed -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
#[expect(clippy::print_stderr, reason = "the measurement's output")]
fn step_speed() {
    let Some(root) = std::env::var_os("OOPS_FIXTURES").map(PathBuf::from) else { return };
    let folder = root.join("models/smollm2-135m");
    let files = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path());
    let files = files.map(|p| (p.file_name().unwrap().to_string_lossy().into_owned(), p)).collect();
    let checkpoint = Checkpoint::open(&files).unwrap();
    let (config, block) = (checkpoint.config(), checkpoint.block(10).unwrap());
    let (decoder, recipe) = (Decoder::new(config, 512).unwrap(), recipe());
    let noise = |seed| testkit::noise(&[512, 576], seed, 1.0);
    let x = [noise(1), noise(2), noise(3)];
    let y = [noise(4), noise(5), noise(6)];
    let split = Split { fit: vec![0, 1], heldout: vec![2], judges: vec![vec![true; 512]], leaked: 0 };
    let (xs, ys) = (shelf(&x), shelf(&y));
    let trainer = trainer(&decoder, &recipe, Data::new(&xs, &ys, &split, 10.0).unwrap());
    let trainable = Trainable::new(&block, None, &mut Rng::new(1, "x")).unwrap();
    let mut adam = AdamW::new(trainable.tensors(), recipe.clip);
    let ours = best(|| assert!(trainer.step(&trainable, &mut adam, &[0, 1], 1e-5).unwrap().is_some()));
    let gradients: Vec<Tensor> = trainable.tensors().map(|t| t.copy().unwrap()).collect();
    let optimiser = best(|| assert!(adam.step(trainable.tensors(), &gradients, 0.0).is_ok()));
    let before = best(|| {
        let (_, gradients) = automatic(config, &block, &x[..2], &y[..2], trainer.data.scale * 1024.0);
        assert!(adam.step(trainable.tensors(), &gradients, 0.0).is_ok());
    });
    let ceiling = best(|| assert!(gemm_ceiling().is_ok()))[0] / 3.0;
    // Three products per weight; of attention's two, each three times over the visible half.
    let flops = 6.0 * config.dims.block_params(10) as f64 * 1024.0 + 12.0 * 512.0 * 513.0 * 576.0;
    let share = flops / ours[0] / (2.0 * 2048f64.powi(3) / ceiling);
    eprintln!(
        "CPU ms, ms of a step of 2 x 512 tokens: ours {ours:.0?} (optimiser {optimiser:.0?}), automatic {before:.0?}"
    );
    eprintln!("ratio {:.2} in CPU time, {:.2} by the clock", before[0] / ours[0], before[1] / ours[1]);
    eprintln!("{:.0} GFLOP/s per CPU, {:.0} % of a product of 2048 squared", flops / ours[0] / 1e6, 100.0 * share);
}
