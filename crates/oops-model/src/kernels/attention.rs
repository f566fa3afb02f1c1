//! Causal grouped-query attention over packed sequences, without a T × T buffer.
//!
//! A task takes a tile of query rows of one sequence. For each KV head it stacks the tile's rows of all query heads of
//! the group (so that keys and values are read once per group), forms scores against the visible keys only, turns them
//! into probabilities row by row, and multiplies with the values. Only the tile's scores exist, in a buffer per thread.

use std::cell::RefCell;

use gemm::Parallelism;
use rayon::prelude::*;

use super::{
    gemm::{Mat, gemm},
    vector,
};

/// Stacked rows (query rows × heads of a group) that one tile aims for: fills the GEMM kernel, stays in L2.
const STACKED_ROWS: usize = 96;

/// Shape of an attention layer.
#[derive(Clone, Copy)]
pub(crate) struct AttentionShape {
    /// Query heads; a multiple of `kv_heads`.
    pub(crate) query_heads: usize,
    /// Key/value heads.
    pub(crate) kv_heads: usize,
    /// Channels per head.
    pub(crate) head_dim: usize,
    /// Keys that a query sees, itself included; `None` = all before it.
    pub(crate) window: Option<usize>,
}

impl AttentionShape {
    /// Query heads per KV head; 0 without heads.
    pub(super) fn group(&self) -> usize {
        self.query_heads.checked_div(self.kv_heads).unwrap_or(0)
    }

    /// First key that the query at `position` sees.
    #[inline(always)]
    pub(crate) fn first_key(&self, position: usize) -> usize {
        self.window.map_or(0, |w| (position + 1).saturating_sub(w))
    }
}

/// softmax(q·kᵀ/√d_h)·v per head, causal inside each of the sequences of `lengths` tokens that lie one after another.
///
/// `q` `[N, query_heads·head_dim]`, `k` and `v` `[N, kv_heads·head_dim]`, N = Σ lengths; gives the shape of `q`.
pub(crate) fn attention(q: &[f32], k: &[f32], v: &[f32], lengths: &[usize], shape: &AttentionShape) -> Vec<f32> {
    let mut out = vec![0.0; q.len()];
    if shape.kv_heads > 0 {
        tiles(&mut out, q, k, v, lengths, shape).into_par_iter().for_each(|tile| tile.run(shape));
    }
    out
}

/// [`attention`] of the tokens behind the first `past` ones of a single sequence.
///
/// `q` `[n, query_heads·head_dim]`, `k` and `v` of all tokens `[past + n, kv_heads·head_dim]`; gives the shape of `q`.
pub(crate) fn attention_after(q: &[f32], k: &[f32], v: &[f32], past: usize, shape: &AttentionShape) -> Vec<f32> {
    let mut out = vec![0.0; q.len()];
    let (wide, narrow) = (shape.query_heads * shape.head_dim, shape.kv_heads * shape.head_dim);
    if wide > 0 {
        let rows = tile_rows(shape);
        let pieces = out.par_chunks_mut(rows * wide).zip(q.par_chunks(rows * wide)).enumerate();
        pieces.for_each(|(i, (out, q))| {
            let (first, rows) = (past + i * rows, q.len() / wide);
            let keys = ..(first + rows) * narrow;
            Tile { out, q, k: &k[keys], v: &v[keys], first, rows }.run(shape);
        });
    }
    out
}

/// Query rows of a tile, so that their stack fills the GEMM kernel.
pub(super) fn tile_rows(shape: &AttentionShape) -> usize {
    (STACKED_ROWS / shape.group()).max(8)
}

/// Query rows `first..first + rows` of one sequence, with that sequence's keys and values and the tile's outputs.
struct Tile<'a> {
    out: &'a mut [f32],
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    first: usize,
    rows: usize,
}

fn tiles<'a>(
    mut out: &'a mut [f32],
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    lengths: &[usize],
    shape: &AttentionShape,
) -> Vec<Tile<'a>> {
    let (wide, narrow) = (shape.query_heads * shape.head_dim, shape.kv_heads * shape.head_dim);
    let tile_rows = tile_rows(shape);
    let (mut tiles, mut start) = (Vec::new(), 0);
    for &length in lengths {
        for first in (0..length).step_by(tile_rows) {
            let rows = tile_rows.min(length - first);
            let (mine, rest) = out.split_at_mut(rows * wide);
            out = rest;
            let token = start + first;
            let keys = start * narrow..(token + rows) * narrow;
            let q = &q[token * wide..(token + rows) * wide];
            tiles.push(Tile { out: mine, q, k: &k[keys.clone()], v: &v[keys], first, rows });
        }
        start += length;
    }
    tiles
}

/// Buffers of a thread, grown to the largest tile it has seen.
#[derive(Default)]
struct Scratch {
    queries: Vec<f32>,
    scores: Vec<f32>,
    mixed: Vec<f32>,
    inverse_sums: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Tile<'_> {
    fn run(self, shape: &AttentionShape) {
        SCRATCH.with_borrow_mut(|scratch| {
            let Self { out, q, k, v, first, rows } = self;
            let (d, group, narrow) = (shape.head_dim, shape.group(), shape.kv_heads * shape.head_dim);
            let (stacked, from, to) = (rows * group, shape.first_key(first), first + rows);
            let keys = to - from;
            scratch.queries.resize(stacked * d, 0.0);
            scratch.scores.resize(stacked * keys, 0.0);
            scratch.mixed.resize(stacked * d, 0.0);
            scratch.inverse_sums.resize(stacked, 0.0);
            let Scratch { queries, scores, mixed, inverse_sums } = scratch;
            for head in 0..shape.kv_heads {
                let at = from * narrow + head * d;
                let (k, v) = (Mat::new(&k[at..], keys, d, narrow), Mat::new(&v[at..], keys, d, narrow));
                simd!(|| stack_queries(q, queries, head, rows, shape));
                gemm(scores, keys, Mat::new(queries, stacked, d, d), k.t(), false, Parallelism::None);
                simd!(|| softmax_rows(scores, keys, inverse_sums, first, from, shape));
                gemm(mixed, d, Mat::new(scores, stacked, keys, keys), v, false, Parallelism::None);
                simd!(|| unstack(mixed, inverse_sums, out, head, rows, shape));
            }
        });
    }
}

/// Copies the group's heads, scaled by 1/√d_h, to rows ordered by (query row, head of the group).
#[inline(always)]
fn stack_queries(q: &[f32], queries: &mut [f32], kv_head: usize, rows: usize, shape: &AttentionShape) {
    let (d, span) = (shape.head_dim, shape.group() * shape.head_dim);
    let scale = (1.0 / (d as f64).sqrt()) as f32;
    for row in 0..rows {
        let at = row * shape.query_heads * d + kv_head * span;
        for (to, from) in queries[row * span..(row + 1) * span].iter_mut().zip(&q[at..at + span]) {
            *to = from * scale;
        }
    }
}

/// Turns scores into unnormalised probabilities, 0 where a key is out of sight, and keeps 1/Σ of each row.
#[inline(always)]
fn softmax_rows(
    scores: &mut [f32],
    keys: usize,
    inverse_sums: &mut [f32],
    first: usize,
    from: usize,
    shape: &AttentionShape,
) {
    for (i, (row, inverse)) in scores.chunks_exact_mut(keys).zip(inverse_sums).enumerate() {
        let position = first + i / shape.group();
        let (begin, end) = (shape.first_key(position) - from, position + 1 - from);
        row[..begin].fill(0.0);
        row[end..].fill(0.0);
        let visible = &mut row[begin..end];
        let max = vector::max(visible);
        *inverse = 1.0 / vector::exp_in_place(visible, max);
    }
}

/// The inverse of [`stack_queries`] for outputs, with the rows' normalisation.
#[inline(always)]
fn unstack(mixed: &[f32], inverse_sums: &[f32], out: &mut [f32], kv_head: usize, rows: usize, shape: &AttentionShape) {
    let (d, group) = (shape.head_dim, shape.group());
    for row in 0..rows {
        for g in 0..group {
            let (stacked, at) = (row * group + g, (row * shape.query_heads + kv_head * group + g) * d);
            let inverse = inverse_sums[stacked];
            for (to, from) in out[at..at + d].iter_mut().zip(&mixed[stacked * d..(stacked + 1) * d]) {
                *to = from * inverse;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{max_diff, noise, with_threads};

    fn naive(q: &[f32], k: &[f32], v: &[f32], lengths: &[usize], s: &AttentionShape) -> Vec<f32> {
        let (d, n) = (s.head_dim, lengths.iter().sum::<usize>());
        let mut out = vec![0.0; n * s.query_heads * d];
        let starts = lengths.iter().scan(0, |at, l| Some(std::mem::replace(at, *at + l)));
        for (start, length) in starts.zip(lengths) {
            for t in 0..*length {
                for h in 0..s.query_heads {
                    let kv = h / s.group();
                    let at = |x: usize, heads: usize, h: usize| ((start + x) * heads + h) * d;
                    let keys = s.first_key(t)..t + 1;
                    let query = &q[at(t, s.query_heads, h)..][..d];
                    let dot = |j| query.iter().zip(&k[at(j, s.kv_heads, kv)..][..d]).map(|(a, b)| f64::from(a * b));
                    let e: Vec<f64> = keys.clone().map(|j| (dot(j).sum::<f64>() / (d as f64).sqrt()).exp()).collect();
                    let sum: f64 = e.iter().sum();
                    for c in 0..d {
                        let mixed = keys.clone().zip(&e).map(|(j, e)| e * f64::from(v[at(j, s.kv_heads, kv) + c]));
                        out[at(t, s.query_heads, h) + c] = (mixed.sum::<f64>() / sum) as f32;
                    }
                }
            }
        }
        out
    }

    fn case(query_heads: usize, kv_heads: usize, head_dim: usize, window: Option<usize>, lengths: &[usize]) {
        let shape = AttentionShape { query_heads, kv_heads, head_dim, window };
        let n: usize = lengths.iter().sum();
        let q: Vec<f32> = noise(n * query_heads * head_dim, 1).iter().map(|v| v * 4.0).collect();
        let (k, v) = (noise(n * kv_heads * head_dim, 2), noise(n * kv_heads * head_dim, 3));
        let run = |threads| with_threads(threads, || attention(&q, &k, &v, lengths, &shape));
        assert!(max_diff(&run(1), &naive(&q, &k, &v, lengths, &shape)) < 1e-5);
        assert_eq!(run(1), run(2));
    }

    #[test]
    fn grouped_windowed_and_packed_attention_matches_the_definition() {
        case(4, 2, 8, None, &[24]);
        case(3, 3, 16, None, &[1, 70, 5]);
        case(9, 3, 64, None, &[100, 33]);
        case(4, 1, 8, Some(8), &[50, 3]);
        case(1, 1, 4, Some(1), &[120]);
        case(16, 1, 2, Some(40), &[90]);
    }

    #[test]
    fn a_block_without_heads_gives_nothing() {
        let shape = AttentionShape { query_heads: 0, kv_heads: 0, head_dim: 8, window: None };
        assert!(attention(&[], &[], &[], &[3], &shape).is_empty());
    }
}
