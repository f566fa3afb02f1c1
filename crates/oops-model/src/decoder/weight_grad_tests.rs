//! Laws of the gradients of weights: equal to the tensor library's automatic ones and to finite differences.

use candle_core::Var;
use oops_core::BlockDims;

use super::*;
use crate::{
    Family, autograd,
    fixtures::{config, max_diff, random, random_block},
    kernels::testing::with_threads,
};

const HIDDEN: usize = 32;
const DIMS: BlockDims = BlockDims { query_heads: 6, kv_heads: 2, head_dim: 8, ffn: 40 };

fn setup(dims: BlockDims, window: Option<usize>) -> (ModelConfig, Decoder, Block) {
    let mut config = config(Family::Qwen3, HIDDEN, vec![dims]);
    config.sliding_window = window;
    (config.clone(), Decoder::new(&config, 64).unwrap(), random_block(HIDDEN, dims, 1))
}

/// The forward pass's result, the gradient at the input, and those of the weights.
fn backward(d: &Decoder, b: &Block, x: &Tensor, lengths: &[usize], grad: &Tensor) -> (Tensor, Tensor, Block) {
    let (y, tape) = d.block_recorded(b, x, lengths).unwrap();
    assert!(tape.bytes() > 0);
    let (dx, weights) = d.block_backward(b, x, tape, grad).unwrap();
    (y, dx, weights)
}

#[test]
fn weight_gradients_equal_automatic_ones() {
    let tokens = 13;
    let headless = BlockDims { query_heads: 0, kv_heads: 0, ..DIMS };
    for (dims, window) in [(DIMS, None), (DIMS, Some(5)), (headless, None)] {
        let (config, d, b) = setup(dims, window);
        let (x, grad) = (random(&[2 * tokens, HIDDEN], 5, 1.0), random(&[2 * tokens, HIDDEN], 6, 1.0));
        let (y, dx, weights) = backward(&d, &b, &x, &[tokens; 2], &grad);
        let nothing = &mut |_: Site, _: &Tensor| Ok(());
        assert_eq!(max_diff(&y, &d.block(&b, &x, &[tokens; 2], nothing).unwrap()), 0.0);
        let vjp = d.block_grad(&b, &x, &[tokens; 2], &grad, &mut |_, _, _, _| Ok(())).unwrap();
        assert_eq!(max_diff(&dx, &vjp), 0.0);

        let mut vars = Vec::new();
        let watched = b.map(&mut |_, _, t| {
            vars.push(Var::from_tensor(t).unwrap());
            Ok(vars[vars.len() - 1].as_tensor().clone())
        });
        let batch = x.reshape((2, tokens, HIDDEN)).unwrap();
        let y = autograd::block_forward(&config, &watched.unwrap(), &batch).unwrap();
        let grads = y.reshape((2 * tokens, HIDDEN)).and_then(|y| (y * &grad)?.sum_all()?.backward()).unwrap();
        let mut vars = vars.iter();
        weights
            .map(&mut |site, role, ours| {
                let var = vars.next().unwrap();
                assert_eq!(ours.dims(), var.dims());
                match grads.get(var) {
                    Some(theirs) => assert!(max_diff(ours, theirs) < 1e-4, "{site:?} {role:?}"),
                    None => assert!(max_diff(ours, &ours.zeros_like().unwrap()) == 0.0, "{site:?} {role:?}"),
                }
                Ok(ours.clone())
            })
            .unwrap();
    }
}

#[test]
fn weight_gradients_are_the_slopes_of_the_loss() {
    let (_, d, b) = setup(DIMS, None);
    let (x, grad) = (random(&[24, HIDDEN], 5, 1.0), random(&[24, HIDDEN], 6, 1.0));
    let weights = backward(&d, &b, &x, &[9, 15], &grad).2;
    let objective = |b: &Block| -> f64 {
        let y = d.block(b, &x, &[9, 15], &mut |_, _| Ok(())).unwrap();
        let (y, g) = (crate::values(&y).unwrap(), crate::values(&grad).unwrap());
        y.iter().zip(g).map(|(y, g)| f64::from(*y) * f64::from(g)).sum()
    };
    let mut slots = Vec::new();
    weights
        .map(&mut |_, _, t| {
            slots.push(t.clone());
            Ok(t.clone())
        })
        .unwrap();
    for (i, gradient) in slots.iter().enumerate() {
        let size = crate::values(gradient).unwrap().iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        let step = 2e-2 / size;
        let moved = |sign: f64| {
            let mut slot = 0..;
            b.map(&mut |_, _, t| {
                if slot.next() == Some(i) { (t + (gradient * (sign * step)).unwrap()).lift() } else { Ok(t.clone()) }
            })
            .unwrap()
        };
        // Along the gradient itself the slope is its norm.
        let slope = (objective(&moved(1.0)) - objective(&moved(-1.0))) / (2.0 * step * size);
        assert!((slope - size).abs() < 5e-3 * size, "tensor {i}: {slope} {size}");
    }
}

#[test]
fn weight_gradients_of_sequences_add_up_whatever_the_threads() {
    let (_, d, b) = setup(DIMS, None);
    let (x, grad) = (random(&[40, HIDDEN], 5, 1.0), random(&[40, HIDDEN], 6, 1.0));
    let run = |threads| with_threads(threads, || backward(&d, &b, &x, &[17, 0, 23], &grad).2);
    let (whole, again) = (run(1), run(2));
    let of = |t: &Tensor, start, n| t.narrow(0, start, n).unwrap();
    let part = |start, n| backward(&d, &b, &of(&x, start, n), &[n], &of(&grad, start, n)).2;
    let (first, second) = (part(0, 17), part(17, 23));
    let tensors = |b: &Block| b.tensors().into_iter().cloned().collect::<Vec<_>>();
    for (((whole, again), a), b) in
        tensors(&whole).iter().zip(tensors(&again)).zip(tensors(&first)).zip(tensors(&second))
    {
        assert_eq!(max_diff(whole, &again), 0.0);
        assert!(max_diff(whole, &(a + b).unwrap()) < 1e-4);
    }
}
