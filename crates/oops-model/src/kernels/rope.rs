//! Rotary position encoding in the half-split convention: channel i of a head turns with channel i + d_h/2
//! (Su et al. 2021, arXiv 2104.09864; layout of GPT-NeoX and Hugging Face).

use rayon::prelude::*;

use super::ROWS_PER_TASK;

/// cos and sin of position · frequency, times the attention factor, `[positions, head_dim/2]` each.
pub(crate) struct RopeTable {
    half: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl RopeTable {
    /// Tables for positions below `positions`; angles are computed in f64.
    pub(crate) fn new(frequencies: &[f64], attention_factor: f64, positions: usize) -> Self {
        let angles = |p: usize| frequencies.iter().map(move |f| p as f64 * f);
        let table =
            |f: fn(f64) -> f64| (0..positions).flat_map(angles).map(|a| (f(a) * attention_factor) as f32).collect();
        Self { half: frequencies.len(), cos: table(f64::cos), sin: table(f64::sin) }
    }

    /// Positions that the tables cover.
    pub(crate) fn positions(&self) -> usize {
        self.cos.len() / self.half.max(1)
    }

    /// cos and sin of the first `positions` positions, flat.
    pub(crate) fn tables(&self, positions: usize) -> (&[f32], &[f32]) {
        (&self.cos[..positions * self.half], &self.sin[..positions * self.half])
    }

    #[inline(always)]
    fn row(&self, position: usize) -> (&[f32], &[f32]) {
        let range = position * self.half..(position + 1) * self.half;
        (&self.cos[range.clone()], &self.sin[range])
    }
}

/// Turns every head of `x` `[positions.len(), heads·head_dim]` in place by its row's position.
pub(crate) fn rotate(x: &mut [f32], positions: &[u32], table: &RopeTable) {
    rows(x, positions, table, turn);
}

/// The gradient of [`rotate`]: its transpose, which is its inverse where the attention factor is 1.
pub(crate) fn rotate_back(x: &mut [f32], positions: &[u32], table: &RopeTable) {
    rows(x, positions, table, turn_back);
}

#[inline(always)]
fn rows(x: &mut [f32], positions: &[u32], table: &RopeTable, turn: impl Fn(&mut [f32], &[f32], &[f32]) + Sync) {
    let width = x.len().checked_div(positions.len()).unwrap_or(0).max(1);
    let rows = x.par_chunks_mut(width * ROWS_PER_TASK).zip(positions.par_chunks(ROWS_PER_TASK));
    rows.for_each(|(x, positions)| {
        simd!(|| {
            for (row, &p) in x.chunks_exact_mut(width).zip(positions) {
                let (cos, sin) = table.row(p as usize);
                row.chunks_exact_mut(2 * table.half).for_each(|head| turn(head, cos, sin));
            }
        });
    });
}

#[inline(always)]
fn turn(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (low, high) = head.split_at_mut(cos.len());
    for (((a, b), c), s) in low.iter_mut().zip(high).zip(cos).zip(sin) {
        (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
    }
}

#[inline(always)]
fn turn_back(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (low, high) = head.split_at_mut(cos.len());
    for (((a, b), c), s) in low.iter_mut().zip(high).zip(cos).zip(sin) {
        (*a, *b) = (*a * c + *b * s, *b * c - *a * s);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{max_diff, noise};

    #[test]
    fn channel_pairs_turn_by_the_position() {
        let table = RopeTable::new(&[1.0, 0.5], 1.0, 4);
        let mut x = [1.0, 0.0, 0.0, 1.0];
        rotate(&mut x, &[2], &table);
        let expected = [2f32.cos(), -(1f32.sin()), 2f32.sin(), 1f32.cos()];
        assert!(max_diff(&x, &expected) < 1e-6);
    }

    #[test]
    fn turning_back_undoes_the_turn() {
        let table = RopeTable::new(&[1.0, 0.3, 0.01], 1.0, 64);
        let mut x = noise(12, 1);
        rotate(&mut x, &[9], &table);
        rotate_back(&mut x, &[9], &table);
        assert!(max_diff(&x, &noise(12, 1)) < 1e-6);
    }

    #[test]
    fn scores_depend_on_the_distance_alone() {
        let table = RopeTable::new(&[1.0, 0.3, 0.01], 1.0, 64);
        let (q, k) = (noise(6, 1), noise(6, 2));
        let score = |i: u32, j: u32| -> f32 {
            let (mut q, mut k) = (q.clone(), k.clone());
            rotate(&mut q, &[i], &table);
            rotate(&mut k, &[j], &table);
            q.iter().zip(&k).map(|(a, b)| a * b).sum()
        };
        assert!((score(9, 4) - score(45, 40)).abs() < 1e-5);
    }
}
