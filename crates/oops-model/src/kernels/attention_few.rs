//! Attention of very few queries over cached keys: one task per query row and KV head, which reads the head's keys and
//! values for all query heads of the group.

use rayon::prelude::*;

use super::{
    AttentionShape,
    lanes::{Lanes, OnLanes, dot, on_lanes},
    vector,
};

/// [`super::attention_after`] for few rows: the same mixture, with sums in another order.
pub(crate) fn attention_few(q: &[f32], k: &[f32], v: &[f32], past: usize, shape: &AttentionShape) -> Vec<f32> {
    let mut out = vec![0.0; q.len()];
    let span = shape.group() * shape.head_dim;
    if span > 0 {
        out.par_chunks_mut(span).zip(q.par_chunks(span)).enumerate().for_each(|(i, (out, q))| {
            let position = past + i / shape.kv_heads;
            let seen = shape.first_key(position)..position + 1;
            let head = Head { k, v, at: i % shape.kv_heads, shape };
            on_lanes(Mixture { head, out, q, first: seen.start, scores: vec![0.0; seen.len()] });
        });
    }
    out
}

/// Keys and values of KV head `at`.
struct Head<'a> {
    k: &'a [f32],
    v: &'a [f32],
    at: usize,
    shape: &'a AttentionShape,
}

impl Head<'_> {
    /// The head's row of `all` (keys or values) at a position.
    #[inline(always)]
    fn row<'a>(&self, all: &'a [f32], position: usize) -> &'a [f32] {
        let d = self.shape.head_dim;
        let start = (position * self.shape.kv_heads + self.at) * d;
        &all[start..start + d]
    }
}

/// `out` ← softmax(q·kᵀ/√d_h)·v over the keys from `first` on, one for each of `scores`, for the query heads of a group.
struct Mixture<'a> {
    head: Head<'a>,
    out: &'a mut [f32],
    q: &'a [f32],
    first: usize,
    scores: Vec<f32>,
}

impl OnLanes for Mixture<'_> {
    #[inline(always)]
    fn run<L: Lanes>(mut self, lanes: L) {
        let d = self.head.shape.head_dim;
        let scale = (1.0 / (d as f64).sqrt()) as f32;
        for (out, q) in self.out.chunks_exact_mut(d).zip(self.q.chunks_exact(d)) {
            for (j, score) in self.scores.iter_mut().enumerate() {
                *score = dot(lanes, q, self.head.row(self.head.k, self.first + j)) * scale;
            }
            let largest = vector::max(&self.scores);
            let inverse = 1.0 / vector::exp_in_place(&mut self.scores, largest);
            out.fill(0.0);
            for (j, p) in self.scores.iter().enumerate() {
                let value = self.head.row(self.head.v, self.first + j);
                out.iter_mut().zip(value).for_each(|(o, v)| *o = p.mul_add(*v, *o));
            }
            out.iter_mut().for_each(|o| *o *= inverse);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{
        attention, attention_after,
        testing::{max_diff, noise, with_threads},
    };

    #[test]
    fn rows_behind_a_cache_are_rows_of_the_whole() {
        for (query_heads, kv_heads, head_dim, window) in
            [(9, 3, 64, None), (4, 1, 8, Some(8)), (3, 3, 20, Some(1)), (6, 2, 16, Some(40))]
        {
            let shape = AttentionShape { query_heads, kv_heads, head_dim, window };
            let (n, wide) = (130, query_heads * head_dim);
            let q: Vec<f32> = noise(n * wide, 1).iter().map(|v| v * 4.0).collect();
            let (k, v) = (noise(n * kv_heads * head_dim, 2), noise(n * kv_heads * head_dim, 3));
            let whole = attention(&q, &k, &v, &[n], &shape);
            for rows in [1, 3, 90, 130] {
                let past = n - rows;
                let expected = &whole[past * wide..];
                assert!(max_diff(&attention_after(&q[past * wide..], &k, &v, past, &shape), expected) < 1e-5);
                let run = |threads| with_threads(threads, || attention_few(&q[past * wide..], &k, &v, past, &shape));
                assert!(max_diff(&run(1), expected) < 1e-5);
                assert_eq!(run(1), run(2));
            }
        }
    }

    #[test]
    fn a_block_without_heads_gives_nothing() {
        let shape = AttentionShape { query_heads: 0, kv_heads: 0, head_dim: 8, window: None };
        assert!(attention_few(&[], &[], &[], 3, &shape).is_empty());
    }
}
