//! The step on our kernels against the tensor library's automatic gradients: the same descent.

use candle_core::Var;
use oops_core::BlockDims;
use oops_model::{ModelConfig, autograd, values};

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
