//! Backward pass of [`super::attention`], without a T × T buffer.
//!
//! A task takes one KV head of one sequence and walks its query tiles in order, so that the sums over queries that make
//! up the gradients of keys and values have one order whatever the number of threads. Each tile recomputes its
//! probabilities P; with dP = dO·Vᵀ and dS = P ⊙ (dP − Σ_keys P ⊙ dP) the gradients are dQ = dS·K/√d_h,
//! dK = Σ dSᵀ·Q/√d_h and dV = Σ Pᵀ·dO (Dao et al. 2022, arXiv 2205.14135, without the running maximum: a tile sees all
//! of its keys at once).

use std::ops::Range;

use gemm::Parallelism;
use rayon::prelude::*;

use super::{
    AttentionShape,
    attention::tile_rows,
    gemm::{Mat, gemm},
    vector,
};

/// Gradients of q, k and v, in their shapes.
pub(crate) struct AttentionGrad {
    /// `[N, query_heads·head_dim]`.
    pub(crate) q: Vec<f32>,
    /// `[N, kv_heads·head_dim]`.
    pub(crate) k: Vec<f32>,
    /// `[N, kv_heads·head_dim]`.
    pub(crate) v: Vec<f32>,
}

/// Gradients of [`super::attention`] from `grad`, that of its result; all other arguments are those of the forward pass.
pub(crate) fn attention_grad(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    grad: &[f32],
    lengths: &[usize],
    shape: &AttentionShape,
) -> AttentionGrad {
    let mut out = AttentionGrad { q: vec![0.0; q.len()], k: vec![0.0; k.len()], v: vec![0.0; v.len()] };
    let (span, narrow) = (shape.group() * shape.head_dim, shape.kv_heads * shape.head_dim);
    let (mut tasks, mut start) = (Vec::new(), 0);
    for &length in lengths.iter().filter(|&&n| n > 0) {
        tasks.extend((0..shape.kv_heads).map(|head| (start..start + length, head)));
        start += length;
    }
    let parts: Vec<_> =
        tasks.par_iter().map(|(rows, head)| one_head(q, k, v, grad, rows.clone(), *head, shape)).collect();
    for ((rows, head), part) in tasks.into_iter().zip(parts) {
        scatter(&mut out.q, &part.q, rows.clone(), head * span..(head + 1) * span, span * shape.kv_heads);
        let columns = head * shape.head_dim..(head + 1) * shape.head_dim;
        scatter(&mut out.k, &part.k, rows.clone(), columns.clone(), narrow);
        scatter(&mut out.v, &part.v, rows, columns, narrow);
    }
    out
}

/// Puts a compact matrix into `columns` of the rows `rows` of one with `width` columns.
fn scatter(out: &mut [f32], part: &[f32], rows: Range<usize>, columns: Range<usize>, width: usize) {
    let out = out[rows.start * width..rows.end * width].chunks_exact_mut(width);
    out.zip(part.chunks_exact(columns.len())).for_each(|(row, part)| row[columns.clone()].copy_from_slice(part));
}

/// The rows `rows` of `columns`, compact and multiplied by `scale`.
fn gather(x: &[f32], rows: Range<usize>, columns: Range<usize>, width: usize, scale: f32) -> Vec<f32> {
    let x = x[rows.start * width..rows.end * width].chunks_exact(width);
    x.flat_map(|row| &row[columns.clone()]).map(|v| v * scale).collect()
}

/// Gradients of one KV head and its query heads over one sequence, compact: q `[T, group·d]`, k and v `[T, d]`.
///
/// A compact q row holds the group's heads side by side, so read as `[T·group, d]` it is the stack of query rows.
fn one_head(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    grad: &[f32],
    sequence: Range<usize>,
    head: usize,
    shape: &AttentionShape,
) -> AttentionGrad {
    let (d, group, length) = (shape.head_dim, shape.group(), sequence.len());
    let (span, narrow) = (group * d, shape.kv_heads * d);
    let scale = (1.0 / (d as f64).sqrt()) as f32;
    let wide = head * span..(head + 1) * span;
    let queries = gather(q, sequence.clone(), wide.clone(), shape.query_heads * d, scale);
    let grads = gather(grad, sequence.clone(), wide, shape.query_heads * d, 1.0);
    let at = sequence.start * narrow + head * d;
    let mut out = AttentionGrad { q: vec![0.0; length * span], k: vec![0.0; length * d], v: vec![0.0; length * d] };
    let (mut probs, mut slopes) = (Vec::new(), Vec::new());
    let step = tile_rows(shape);
    for first in (0..length).step_by(step) {
        let end = length.min(first + step);
        let (from, stacked) = (shape.first_key(first), (end - first) * group);
        let keys = end - from;
        let tile = first * span..end * span;
        let (q, g) = (Mat::new(&queries[tile.clone()], stacked, d, d), Mat::new(&grads[tile.clone()], stacked, d, d));
        let offset = at + from * narrow;
        let (k, v) = (Mat::new(&k[offset..], keys, d, narrow), Mat::new(&v[offset..], keys, d, narrow));
        probs.resize(stacked * keys, 0.0);
        slopes.resize(stacked * keys, 0.0);
        gemm(&mut probs, keys, q, k.t(), false, Parallelism::None);
        gemm(&mut slopes, keys, g, v.t(), false, Parallelism::None);
        simd!(|| softmax_slopes(&mut probs, &mut slopes, first, from, keys, shape));
        let (p, s) = (Mat::new(&probs, stacked, keys, keys), Mat::new(&slopes, stacked, keys, keys));
        gemm(&mut out.q[tile.clone()], d, s, k, false, Parallelism::None);
        gemm(&mut out.k[from * d..end * d], d, s.t(), q, true, Parallelism::None);
        gemm(&mut out.v[from * d..end * d], d, p.t(), g, true, Parallelism::None);
        out.q[tile].iter_mut().for_each(|v| *v *= scale);
    }
    out
}

/// Turns scores into probabilities P and dP into dS = P ⊙ (dP − Σ P ⊙ dP), row by row; unseen keys get 0 in both.
#[inline(always)]
fn softmax_slopes(
    probs: &mut [f32],
    slopes: &mut [f32],
    first: usize,
    from: usize,
    keys: usize,
    shape: &AttentionShape,
) {
    for (i, (p, s)) in probs.chunks_exact_mut(keys).zip(slopes.chunks_exact_mut(keys)).enumerate() {
        let position = first + i / shape.group();
        let (begin, end) = (shape.first_key(position) - from, position + 1 - from);
        for row in [&mut *p, &mut *s] {
            row[..begin].fill(0.0);
            row[end..].fill(0.0);
        }
        let (p, s) = (&mut p[begin..end], &mut s[begin..end]);
        let max = vector::max(p);
        let inverse = 1.0 / vector::exp_in_place(p, max);
        p.iter_mut().for_each(|p| *p *= inverse);
        let along = vector::dot(p, s);
        s.iter_mut().zip(&*p).for_each(|(s, p)| *s = p * (*s - along));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{
        attention,
        testing::{noise, with_threads},
    };

    /// Σ grad ⊙ attention(q, k, v), whose gradients are what is tested.
    fn objective(q: &[f32], k: &[f32], v: &[f32], grad: &[f32], lengths: &[usize], shape: &AttentionShape) -> f64 {
        attention(q, k, v, lengths, shape).iter().zip(grad).map(|(a, b)| f64::from(a * b)).sum()
    }

    fn case(query_heads: usize, kv_heads: usize, head_dim: usize, window: Option<usize>, lengths: &[usize]) {
        let shape = AttentionShape { query_heads, kv_heads, head_dim, window };
        let n: usize = lengths.iter().sum();
        let (wide, narrow) = (n * query_heads * head_dim, n * kv_heads * head_dim);
        let (k, v, grad) = (noise(narrow, 2), noise(narrow, 3), noise(wide, 4));
        let q: Vec<f32> = noise(wide, 1).iter().map(|x| 2.0 * x).collect();
        let run = |threads| with_threads(threads, || attention_grad(&q, &k, &v, &grad, lengths, &shape));
        let (got, again) = (run(1), run(2));
        assert!(got.q == again.q && got.k == again.k && got.v == again.v);
        for (which, gradient) in [&got.q, &got.k, &got.v].into_iter().enumerate() {
            let size: f32 = gradient.iter().map(|g| g * g).sum::<f32>().sqrt();
            let step = 1e-2 / size.max(1e-6);
            let at = |sign: f32| {
                let mut inputs = [q.clone(), k.clone(), v.clone()];
                inputs[which].iter_mut().zip(gradient).for_each(|(x, g)| *x += sign * step * g);
                objective(&inputs[0], &inputs[1], &inputs[2], &grad, lengths, &shape)
            };
            // Along the gradient itself the slope is its norm.
            let slope = (at(1.0) - at(-1.0)) / f64::from(2.0 * step * size);
            assert!((slope - f64::from(size)).abs() < 2e-3 * f64::from(size.max(0.1)), "{which}: {slope} {size}");
        }
    }

    #[test]
    fn gradients_are_the_slopes_of_grouped_windowed_and_packed_attention() {
        case(4, 2, 8, None, &[24]);
        case(3, 3, 16, None, &[1, 70, 0, 5]);
        case(9, 3, 64, None, &[100, 33]);
        case(4, 1, 8, Some(8), &[50, 3]);
        case(2, 1, 2, Some(40), &[90]);
    }

    #[test]
    fn a_single_key_takes_the_whole_gradient_of_its_value() {
        let shape = AttentionShape { query_heads: 2, kv_heads: 1, head_dim: 1, window: None };
        let got = attention_grad(&[1.0, 2.0], &[3.0], &[4.0], &[5.0, 7.0], &[1], &shape);
        assert_eq!((got.q, got.k, got.v), (vec![0.0; 2], vec![0.0], vec![12.0]));
    }

    #[test]
    fn a_block_without_heads_gives_nothing() {
        let shape = AttentionShape { query_heads: 0, kv_heads: 0, head_dim: 8, window: None };
        assert!(attention_grad(&[], &[], &[], &[], &[3], &shape).q.is_empty());
    }
}
