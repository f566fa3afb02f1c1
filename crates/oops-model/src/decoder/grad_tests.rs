//! Laws of the vector-Jacobian products: equal to the tensor library's automatic gradients, and to finite differences.

use candle_core::Var;
use oops_core::BlockDims;

use super::*;
use crate::{
    Family, autograd,
    fixtures::{config, max_diff, random, random_block},
    kernels::testing::{relative_distance, with_threads},
};

const HIDDEN: usize = 32;
const DIMS: BlockDims = BlockDims { query_heads: 6, kv_heads: 2, head_dim: 8, ffn: 40 };

/// A decoder and a block, with or without norms of the heads.
fn setup(dims: BlockDims, window: Option<usize>, head_norms: bool) -> (ModelConfig, Decoder, Block) {
    let mut config = config(Family::Qwen3, HIDDEN, vec![dims]);
    config.sliding_window = window;
    let mut block = random_block(HIDDEN, dims, 1);
    if !head_norms {
        (block.q_norm, block.k_norm) = (None, None);
    }
    (config.clone(), Decoder::new(&config, 64).unwrap(), block)
}

/// Gradients at the block's input, and at its sites in the order of the tap.
fn backward(d: &Decoder, b: &Block, x: &Tensor, lengths: &[usize], grad: &Tensor) -> (Tensor, Vec<Vec<f32>>) {
    let mut sites = Vec::new();
    let mut tap = |site: Site, _: &[f32], g: &[f32], dy: &[f32]| {
        assert_through_projection(b, site, dy, g);
        sites.push(g.to_vec());
        Ok(())
    };
    let dx = d.block_grad(b, x, lengths, grad, &mut tap).unwrap();
    (dx, sites)
}

/// The gradient at a site is that at its projection's output, times the weight.
fn assert_through_projection(b: &Block, site: Site, dy: &[f32], da: &[f32]) {
    let weight = crate::values(&b.projection(site).weight).unwrap();
    let width = b.dims.width(site);
    for (dy, da) in dy.chunks_exact(HIDDEN).zip(da.chunks_exact(width.max(1))) {
        for (j, da) in da.iter().enumerate() {
            let sum: f32 = dy.iter().enumerate().map(|(i, g)| g * weight[i * width + j]).sum();
            assert!((sum - da).abs() < 1e-4, "{site} {j}: {sum} {da}");
        }
    }
}

#[test]
fn block_gradients_equal_automatic_ones() {
    let tokens = 13;
    for (window, head_norms) in [(None, false), (None, true), (Some(5), true)] {
        let (config, d, b) = setup(DIMS, window, head_norms);
        let (x, grad) = (random(&[2 * tokens, HIDDEN], 5, 1.0), random(&[2 * tokens, HIDDEN], 6, 1.0));
        let (dx, sites) = backward(&d, &b, &x, &[tokens; 2], &grad);

        let var = Var::from_tensor(&x.reshape((2, tokens, HIDDEN)).unwrap()).unwrap();
        // Zeros added at the sites: their gradient is the site's.
        let mut zeros = Vec::new();
        let mut watch = |_: Site, t: Tensor| {
            zeros.push(Var::from_tensor(&t.zeros_like().unwrap()).unwrap());
            t.add(zeros[zeros.len() - 1].as_tensor()).lift()
        };
        let y = autograd::block_forward_tapped(&config, &b, var.as_tensor(), &mut watch).unwrap();
        let scalar = y.reshape((2 * tokens, HIDDEN)).and_then(|y| (y * &grad)?.sum_all()).unwrap();
        let grads = scalar.backward().unwrap();
        let whole = |t: &Tensor| grads.get(t).unwrap().flatten_to(1).unwrap();
        assert!(max_diff(&dx, &whole(var.as_tensor())) < 2e-5);
        for (ours, theirs) in sites.iter().zip(zeros.iter().rev()) {
            let theirs = crate::values(&whole(theirs.as_tensor())).unwrap();
            assert!(crate::kernels::testing::max_diff(ours, &theirs) < 2e-5);
        }
    }
}

#[test]
fn operands_in_bf16_give_nearly_the_same_gradients() {
    let (_, d, b) = setup(DIMS, None, true);
    let (x, grad) = (random(&[30, HIDDEN], 5, 1.0), random(&[30, HIDDEN], 6, 1.0));
    let all = |d: &Decoder| {
        let mut sites = Vec::new();
        let tap = &mut |_: Site, _: &[f32], g: &[f32], _: &[f32]| {
            sites.push(g.to_vec());
            Ok(())
        };
        let dx = d.block_grad(&b, &x, &[1, 20, 9], &grad, tap).unwrap();
        sites.push(crate::values(&dx).unwrap());
        sites
    };
    let exact = all(&d);
    for (rounded, exact) in all(&d.computing(ComputeDtype::Bf16)).iter().zip(&exact) {
        let distance = relative_distance(rounded, exact);
        assert!((1e-5..2e-2).contains(&distance), "{distance}");
    }
}

#[test]
fn the_tap_sees_the_activations_of_the_forward_pass() {
    let (_, d, b) = setup(DIMS, None, true);
    let (x, grad) = (random(&[30, HIDDEN], 5, 1.0), random(&[30, HIDDEN], 6, 1.0));
    let (mut forward, mut backward) = (Vec::new(), Vec::new());
    let lengths = [1, 20, 9];
    d.block(&b, &x, &lengths, &mut |site, t| {
        forward.push((site, crate::values(t)?));
        Ok(())
    })
    .unwrap();
    d.block_grad(&b, &x, &lengths, &grad, &mut |site, a, _, _| {
        backward.push((site, a.to_vec()));
        Ok(())
    })
    .unwrap();
    backward.reverse();
    assert!(forward == backward);
}

#[test]
fn packed_sequences_have_the_gradients_of_single_ones_whatever_the_threads() {
    let (_, d, b) = setup(DIMS, None, false);
    let (x, grad) = (random(&[40, HIDDEN], 5, 1.0), random(&[40, HIDDEN], 6, 1.0));
    let run = |threads| with_threads(threads, || backward(&d, &b, &x, &[17, 0, 23], &grad));
    let (packed, sites) = run(1);
    let again = run(2);
    assert_eq!((crate::values(&packed).unwrap(), sites), (crate::values(&again.0).unwrap(), again.1));
    for (start, n) in [(0, 17), (17, 23)] {
        let of = |t: &Tensor| t.narrow(0, start, n).unwrap();
        assert!(max_diff(&of(&packed), &backward(&d, &b, &of(&x), &[n], &of(&grad)).0) < 1e-5);
    }
}

#[test]
fn a_block_without_units_passes_the_gradient_on() {
    let (_, d, b) = setup(BlockDims { query_heads: 0, kv_heads: 0, head_dim: 8, ffn: 0 }, None, false);
    let (x, grad) = (random(&[5, HIDDEN], 4, 1.0), random(&[5, HIDDEN], 6, 1.0));
    assert_eq!(max_diff(&backward(&d, &b, &x, &[5], &grad).0, &grad), 0.0);
    let d = d.computing(ComputeDtype::Bf16);
    assert_eq!(max_diff(&backward(&d, &b, &x, &[5], &grad).0, &grad), 0.0);
    assert!(d.block_grad(&b, &x, &[5], &x.narrow(0, 0, 4).unwrap(), &mut |_, _, _, _| Ok(())).is_err());
}

#[test]
fn loss_gradient_equals_the_automatic_one_and_last_tokens_get_none() {
    let (config, d, _) = setup(DIMS, None, false);
    let (norm, head) = (random(&[HIDDEN], 3, 1.0), random(&[50, HIDDEN], 4, 1.0));
    let (x, ids): (_, Vec<u32>) = (random(&[12, HIDDEN], 5, 1.0), (0..12).map(|i| i * 7 % 50).collect());
    let (losses, grad) = d.next_token_grad(&norm, &head, &x, &ids, &[6, 1, 5]).unwrap();
    assert_eq!(losses[1], 0.0);
    for (b, (start, n)) in [(0, (0, 6)), (2, (7, 5))] {
        let var = Var::from_tensor(&x.narrow(0, start, n - 1).unwrap().unsqueeze(0).unwrap()).unwrap();
        let logits = autograd::logits(&config, &norm, &head, var.as_tensor()).unwrap();
        let mean = autograd::loss(&logits, &ids[start + 1..start + n]).unwrap();
        let sum = (mean * (n - 1) as f64).unwrap();
        assert!((losses[b] - f64::from(sum.to_scalar::<f32>().unwrap())).abs() < 1e-4);
        let theirs = sum.backward().unwrap().get(&var).unwrap().squeeze(0).unwrap();
        assert!(max_diff(&grad.narrow(0, start, n - 1).unwrap(), &theirs) < 1e-5);
    }
    for last in [5, 6, 11] {
        assert_eq!(crate::values(&grad.narrow(0, last, 1).unwrap()).unwrap(), [0.0; HIDDEN]);
    }
    assert!(d.next_token_grad(&norm, &head, &x, &[50; 12], &[12]).is_err());
}
