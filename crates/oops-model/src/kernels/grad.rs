//! Backward passes of the row-wise kernels, and the masked softmax that training needs as a tensor.
//!
//! Each forward here or beside this file has its gradient here; the tensor library only strings them together.

use rayon::prelude::*;

use super::{
    AttentionShape, ROWS_PER_TASK,
    vector::{exp, exp_in_place, max, sum_of_squares},
};

/// Rows of one partial sum of a weight's gradient: fixed, so that the order of additions is.
const ROWS_PER_SUM: usize = 256;

/// Gradients of RMSNorm y = w ⊙ x·r, r = 1/sqrt(mean x² + ε), with respect to `x` and `weight`.
///
/// dx = r·(w ⊙ g) − x·r³/n·Σ(w ⊙ g ⊙ x) and dw = Σ_rows g ⊙ x·r.
pub(crate) fn rms_norm_grad(x: &[f32], weight: &[f32], grad: &[f32], eps: f64) -> (Vec<f32>, Vec<f32>) {
    let width = weight.len().max(1);
    let mut dx = vec![0.0; x.len()];
    let task = width * ROWS_PER_SUM;
    let pieces = x.par_chunks(task).zip(grad.par_chunks(task)).zip(dx.par_chunks_mut(task));
    let sums: Vec<Vec<f32>> = pieces
        .map(|((x, grad), dx)| {
            let mut dw = vec![0.0; width];
            let rows = x.chunks_exact(width).zip(grad.chunks_exact(width)).zip(dx.chunks_exact_mut(width));
            simd!(|| rows.for_each(|((x, g), dx)| norm_row(x, weight, g, eps, dx, &mut dw)));
            dw
        })
        .collect();
    let mut dw = vec![0.0; width];
    for sum in sums {
        dw.iter_mut().zip(sum).for_each(|(total, part)| *total += part);
    }
    (dx, dw)
}

#[inline(always)]
fn norm_row(x: &[f32], weight: &[f32], grad: &[f32], eps: f64, dx: &mut [f32], dw: &mut [f32]) {
    let n = x.len() as f64;
    let r = (1.0 / (f64::from(sum_of_squares(x)) / n + eps).sqrt()) as f32;
    let mut along = 0.0_f64;
    for (((x, w), g), dw) in x.iter().zip(weight).zip(grad).zip(dw) {
        along += f64::from(w * g * x);
        *dw += g * x * r;
    }
    let pull = (along * f64::from(r).powi(3) / n) as f32;
    for (((dx, x), w), g) in dx.iter_mut().zip(x).zip(weight).zip(grad) {
        *dx = r * w * g - x * pull;
    }
}

/// Gradients of silu(`gate`) ⊙ `up`: dg = g·u·σ(1 + gate·(1 − σ)), du = g·silu(gate), σ = 1/(1 + e^−gate).
pub(crate) fn swiglu_grad(gate: &[f32], up: &[f32], grad: &[f32]) -> (Vec<f32>, Vec<f32>) {
    const CHUNK: usize = 1 << 14;
    let (mut dgate, mut dup) = (vec![0.0; gate.len()], vec![0.0; gate.len()]);
    let outputs = dgate.par_chunks_mut(CHUNK).zip(dup.par_chunks_mut(CHUNK));
    let inputs = gate.par_chunks(CHUNK).zip(up.par_chunks(CHUNK)).zip(grad.par_chunks(CHUNK));
    outputs.zip(inputs).for_each(|((dgate, dup), ((gate, up), grad))| {
        simd!(|| {
            for ((((dgate, dup), gate), up), grad) in dgate.iter_mut().zip(dup).zip(gate).zip(up).zip(grad) {
                let sigma = 1.0 / (1.0 + exp(-gate));
                *dgate = grad * up * sigma * (1.0 + gate * (1.0 - sigma));
                *dup = grad * gate * sigma;
            }
        });
    });
    (dgate, dup)
}

/// softmax(`scale`·s) over the visible keys of each row of `scores` `[rows, tokens]`, 0 elsewhere, in place.
///
/// Row i is the query at position i mod `tokens`; it sees keys `first_key(i)..=i` of `shape`.
pub(crate) fn masked_softmax(scores: &mut [f32], tokens: usize, scale: f32, shape: &AttentionShape) {
    let tokens = tokens.max(1);
    scores.par_chunks_mut(tokens * ROWS_PER_TASK).enumerate().for_each(|(task, rows)| {
        simd!(|| {
            for (row, scores) in rows.chunks_exact_mut(tokens).enumerate() {
                let position = (task * ROWS_PER_TASK + row) % tokens;
                softmax_row(scores, shape.first_key(position), position, scale);
            }
        });
    });
}

#[inline(always)]
fn softmax_row(row: &mut [f32], from: usize, position: usize, scale: f32) {
    row[..from].fill(0.0);
    row[position + 1..].fill(0.0);
    let seen = &mut row[from..=position];
    seen.iter_mut().for_each(|s| *s *= scale);
    let inverse = 1.0 / exp_in_place(seen, max(seen));
    seen.iter_mut().for_each(|s| *s *= inverse);
}

/// Gradient of [`masked_softmax`] from its result p: ds = scale·p ⊙ (g − Σ g·p), in place of `grad`.
pub(crate) fn masked_softmax_grad(probs: &[f32], grad: &mut [f32], tokens: usize, scale: f32, shape: &AttentionShape) {
    let task = tokens.max(1) * ROWS_PER_TASK;
    grad.par_chunks_mut(task).zip(probs.par_chunks(task)).enumerate().for_each(|(i, (grad, probs))| {
        simd!(|| {
            for (row, (grad, probs)) in grad.chunks_exact_mut(tokens).zip(probs.chunks_exact(tokens)).enumerate() {
                let position = (i * ROWS_PER_TASK + row) % tokens;
                let from = shape.first_key(position);
                grad[..from].fill(0.0);
                grad[position + 1..].fill(0.0);
                softmax_grad_row(&probs[from..=position], &mut grad[from..=position], scale);
            }
        });
    });
}

#[inline(always)]
fn softmax_grad_row(probs: &[f32], grad: &mut [f32], scale: f32) {
    let mut lanes = [0.0_f32; 16];
    let (p, g) = (probs.chunks(16), grad.chunks(16));
    p.zip(g).for_each(|(p, g)| lanes.iter_mut().zip(p).zip(g).for_each(|((l, p), g)| *l += p * g));
    let along: f32 = lanes.iter().sum();
    grad.iter_mut().zip(probs).for_each(|(g, p)| *g = scale * p * (*g - along));
}

/// Mean cross-entropy of the rows of `logits` `[targets.len(), vocab]`, and its gradient (softmax − one-hot)/rows.
pub(crate) fn cross_entropy_grad(logits: &[f32], vocab: usize, targets: &[u32], upstream: f32) -> Vec<f32> {
    let mut grad = logits.to_vec();
    let scale = upstream / targets.len().max(1) as f32;
    grad.par_chunks_exact_mut(vocab.max(1)).zip(targets).for_each(|(row, &target)| {
        simd!(|| {
            let factor = scale / exp_in_place(row, max(row));
            row.iter_mut().for_each(|v| *v *= factor);
        });
        row[target as usize] -= scale;
    });
    grad
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{max_diff, noise};

    #[test]
    fn a_row_sees_its_window_and_sums_to_one() {
        let shape = AttentionShape { query_heads: 1, kv_heads: 1, head_dim: 1, window: Some(2) };
        let mut s = vec![1.0; 9];
        masked_softmax(&mut s, 3, 0.5, &shape);
        assert!(max_diff(&s, &[1.0, 0.0, 0.0, 0.5, 0.5, 0.0, 0.0, 0.5, 0.5]) < 1e-7);
    }

    #[test]
    fn norm_gradient_is_orthogonal_to_the_row_when_epsilon_is_zero() {
        // Scaling x does not change its normalised form, so dx has no component along x.
        let (x, w, g) = (noise(3 * 8, 1), noise(8, 2), noise(3 * 8, 3));
        let (dx, dw) = rms_norm_grad(&x, &w, &g, 0.0);
        for (x, dx) in x.chunks(8).zip(dx.chunks(8)) {
            assert!(x.iter().zip(dx).map(|(a, b)| a * b).sum::<f32>().abs() < 1e-5);
        }
        assert_eq!(dw.len(), 8);
    }

    #[test]
    fn cross_entropy_gradient_rows_sum_to_zero() {
        let grad = cross_entropy_grad(&noise(10, 1), 5, &[1, 4], 1.0);
        assert!(grad.chunks(5).all(|row| row.iter().sum::<f32>().abs() < 1e-6));
        assert!(grad[1] < 0.0 && grad[9] < 0.0);
    }
}
