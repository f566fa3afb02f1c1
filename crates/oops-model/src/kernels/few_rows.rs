//! Products of a weight with very few rows, which is what decoding token by token is made of.
//!
//! Their time is that of reading the weight once, so nothing is packed: a task streams its rows of the weight and meets
//! every row of `x` with them while they are in the cache.

use rayon::prelude::*;

use super::lanes::{Lanes, OnLanes, dot, on_lanes};

/// Rows up to which streaming the weight beats the packed product of [`super::linear`].
pub(crate) const FEW_ROWS: usize = 4;

/// Outputs of one task: some 100 KB of weights.
const OUTPUTS_PER_TASK: usize = 32;

/// [`super::linear`] for few rows: the same product, with sums in another order.
pub(crate) fn linear_few(x: &[f32], n: usize, weight: &[f32], bias: Option<&[f32]>, outputs: usize) -> Vec<f32> {
    // Transposed, so that a task owns all that it writes.
    let mut out = vec![0.0; outputs * n];
    let inputs = x.len().checked_div(n).unwrap_or(0);
    out.par_chunks_mut(OUTPUTS_PER_TASK * n.max(1)).enumerate().for_each(|(i, out)| {
        let first = i * OUTPUTS_PER_TASK;
        on_lanes(Products { out: &mut *out, x, n, weight: &weight[first * inputs..], inputs: inputs.max(1) });
        if let Some(bias) = bias {
            out.chunks_exact_mut(n).zip(&bias[first..]).for_each(|(row, b)| row.iter_mut().for_each(|v| *v += b));
        }
    });
    if n <= 1 { out } else { transposed(&out, n) }
}

/// `out` `[outputs, n]` ← weight · xᵀ. Every sum has one order, whatever is computed beside it.
struct Products<'a> {
    out: &'a mut [f32],
    x: &'a [f32],
    n: usize,
    weight: &'a [f32],
    inputs: usize,
}

impl OnLanes for Products<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        for (out, row) in self.out.chunks_exact_mut(self.n).zip(self.weight.chunks_exact(self.inputs)) {
            out.iter_mut().zip(self.x.chunks_exact(self.inputs)).for_each(|(out, x)| *out = dot(lanes, x, row));
        }
    }
}

fn transposed(columns: &[f32], n: usize) -> Vec<f32> {
    (0..n).flat_map(|t| columns.iter().skip(t).step_by(n)).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{
        linear,
        testing::{max_diff, noise, with_threads},
        total,
    };

    #[test]
    fn the_product_is_that_of_many_rows() {
        for (n, inputs, outputs) in [(1, 576, 200), (2, 33, 70), (3, 16, 5), (4, 100, 32), (1, 7, 3)] {
            let (x, w, b) = (noise(n * inputs, 1), noise(outputs * inputs, 2), noise(outputs, 3));
            for bias in [None, Some(&b[..])] {
                let few = linear_few(&x, n, &w, bias, outputs);
                assert!(max_diff(&few, &linear(&x, n, &w, bias, outputs)) < 1e-4, "{n} × {inputs} × {outputs}");
            }
        }
    }

    mod measured {
        use super::*;

        /// Whether the compiler made vector instructions of the products shows in their time alone: beside that of adding up the
        /// weight they take 1.3 times as long with, 4 times and more without.
        #[test]
        #[ignore = "a measurement: needs an idle machine and `--profile dev`"]
        #[cfg(target_arch = "x86_64")]
        fn a_product_takes_little_longer_than_reading_the_weight() {
            assert!(pulp::x86::V3::try_new().is_some(), "needs AVX2");
            let (inputs, outputs) = (576, 1 << 15);
            let (x, w) = (noise(inputs, 1), vec![0.5; outputs * inputs]);
            let seconds = |work: &dyn Fn() -> f32| {
                let start = std::time::Instant::now();
                std::hint::black_box(work());
                start.elapsed().as_secs_f64()
            };
            let both = || (seconds(&|| linear_few(&x, 1, &w, None, outputs)[0]), seconds(&|| total(&w)));
            let runs: Vec<(f64, f64)> = (0..9).map(|_| both()).collect();
            let best = |of: fn(&(f64, f64)) -> f64| runs.iter().map(of).fold(f64::INFINITY, f64::min);
            let (product, read) = (best(|r| r.0), best(|r| r.1));
            assert!(product < 3.0 * read, "{product} s for the product, {read} s to read the weight");
        }
    }

    #[test]
    fn empty_sides_give_biases_or_nothing() {
        assert_eq!(linear_few(&[], 2, &[], Some(&[1.0, 2.0]), 2), [1.0, 2.0, 1.0, 2.0]);
        assert!(linear_few(&[1.0, 2.0], 1, &[], None, 0).is_empty());
        assert!(linear_few(&[], 0, &[1.0], None, 1).is_empty());
    }

    #[test]
    fn a_row_is_the_same_beside_others_and_with_any_threads() {
        let (x, w) = (noise(3 * 300, 1), noise(1001 * 300, 2));
        let run = |threads| with_threads(threads, || linear_few(&x, 3, &w, None, 1001));
        assert_eq!(run(1), run(2));
        assert_eq!(run(1)[1001..2002], linear_few(&x[300..600], 1, &w, None, 1001));
    }
}
