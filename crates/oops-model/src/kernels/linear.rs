//! Linear layers and residual additions.

use gemm::Parallelism;
use rayon::prelude::*;

use super::gemm::{Mat, gemm};

/// Values per task of an operation on every value.
const CHUNK: usize = 1 << 14;

/// y = x·Wᵀ + b: `x` `[n, inputs]`, `weight` `[outputs, inputs]`, `bias` `[outputs]`; gives `[n, outputs]`.
pub(crate) fn linear(x: &[f32], n: usize, weight: &[f32], bias: Option<&[f32]>, outputs: usize) -> Vec<f32> {
    let inputs = x.len().checked_div(n).unwrap_or(0);
    let mut out = match bias {
        Some(bias) => bias.repeat(n),
        None => vec![0.0; n * outputs],
    };
    let (x, weight) = (Mat::new(x, n, inputs, inputs), Mat::new(weight, outputs, inputs, inputs));
    gemm(&mut out, outputs, x, weight.t(), bias.is_some(), Parallelism::Rayon(0));
    out
}

/// Gradient of [`linear`] with respect to `x`, added to it: `dx` ← `dx` + dy·W.
///
/// `dx` `[n, inputs]`, `dy` `[n, outputs]`, `weight` `[outputs, inputs]`.
pub(crate) fn linear_grad(dx: &mut [f32], dy: &[f32], n: usize, weight: &[f32], outputs: usize) {
    let inputs = dx.len().checked_div(n).unwrap_or(0);
    let (dy, weight) = (Mat::new(dy, n, outputs, outputs), Mat::new(weight, outputs, inputs, inputs));
    gemm(dx, inputs, dy, weight, true, Parallelism::Rayon(0));
}

/// Gradient of [`linear`] with respect to its weight, summed over the rows: dyᵀ·x `[outputs, inputs]`.
///
/// `dy` `[n, outputs]`, `x` `[n, inputs]`.
pub(crate) fn weight_grad(dy: &[f32], x: &[f32], n: usize) -> Vec<f32> {
    let width = |m: &[f32]| m.len().checked_div(n).unwrap_or(0);
    let (outputs, inputs) = (width(dy), width(x));
    let mut dw = vec![0.0; outputs * inputs];
    let (dy, x) = (Mat::new(dy, n, outputs, outputs), Mat::new(x, n, inputs, inputs));
    gemm(&mut dw, inputs, dy.t(), x, false, Parallelism::Rayon(0));
    dw
}

/// Gradient of [`linear`] with respect to its bias: the sum of the rows of `dy` `[n, outputs]`.
pub(crate) fn bias_grad(dy: &[f32], outputs: usize) -> Vec<f32> {
    /// Rows of one partial sum: fixed, so that the order of additions is.
    const ROWS_PER_SUM: usize = 256;
    let add = |mut sum: Vec<f32>, row: &[f32]| {
        sum.iter_mut().zip(row).for_each(|(s, v)| *s += v);
        sum
    };
    let width = outputs.max(1);
    let piece = |rows: &[f32]| rows.chunks_exact(width).fold(vec![0.0; outputs], add);
    let sums: Vec<Vec<f32>> = dy.par_chunks(width * ROWS_PER_SUM).map(piece).collect();
    sums.iter().fold(vec![0.0; outputs], |total, sum| add(total, sum))
}

/// `sum` ← `sum` + `x`.
pub(crate) fn add_into(sum: &mut [f32], x: &[f32]) {
    sum.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(sum, x)| {
        simd!(|| sum.iter_mut().zip(x).for_each(|(s, x)| *s += x));
    });
}

/// `x` ← `x` ⊙ `a`.
pub(crate) fn scale_by(x: &mut [f32], a: &[f32]) {
    x.par_chunks_mut(CHUNK).zip(a.par_chunks(CHUNK)).for_each(|(x, a)| {
        simd!(|| x.iter_mut().zip(a).for_each(|(x, a)| *x *= a));
    });
}

/// `x` ← `x` ⊙ `a` + `y` ⊙ `b`.
pub(crate) fn combine(x: &mut [f32], a: &[f32], y: &[f32], b: &[f32]) {
    let factors = a.par_chunks(CHUNK).zip(y.par_chunks(CHUNK)).zip(b.par_chunks(CHUNK));
    x.par_chunks_mut(CHUNK).zip(factors).for_each(|(x, ((a, y), b))| {
        simd!(|| {
            for (((x, a), y), b) in x.iter_mut().zip(a).zip(y).zip(b) {
                *x = *x * a + y * b;
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{noise, with_threads};

    #[test]
    fn bias_is_added_to_every_row() {
        let w = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let x = [1.0, 1.0, 0.0, 2.0];
        assert_eq!(linear(&x, 2, &w, Some(&[10.0, 20.0, 30.0]), 3), [13.0, 27.0, 41.0, 14.0, 28.0, 42.0]);
        assert_eq!(linear(&x, 2, &w, None, 3), [3.0, 7.0, 11.0, 4.0, 8.0, 12.0]);
    }

    #[test]
    fn gradients_of_both_outputs_add_up() {
        let mut dx = vec![100.0, 0.0, 0.0, 0.0];
        linear_grad(&mut dx, &[1.0, 0.0, 2.0, 0.0, 1.0, 1.0], 2, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3);
        assert_eq!(dx, [111.0, 14.0, 8.0, 10.0]);
    }

    #[test]
    fn weight_and_bias_gradients_sum_over_rows() {
        // dy = [[1, 2], [3, 4]], x = [[5, 6, 7], [8, 9, 10]]; dyᵀ·x = [[5 + 24, …], [10 + 32, …]].
        let dy = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(weight_grad(&dy, &[5.0, 6.0, 7.0, 8.0, 9.0, 10.0], 2), [29.0, 33.0, 37.0, 42.0, 48.0, 54.0]);
        assert_eq!(bias_grad(&dy, 2), [4.0, 6.0]);
        assert!(weight_grad(&dy, &[], 2).is_empty() && bias_grad(&[], 0).is_empty());
        assert_eq!(bias_grad(&vec![1.0; 3 * 1000], 3), [1000.0; 3]);
    }

    #[test]
    fn weight_gradients_do_not_depend_on_the_threads() {
        let (dy, x) = (noise(700 * 130, 1), noise(700 * 90, 2));
        let run = |threads| with_threads(threads, || (weight_grad(&dy, &x, 700), bias_grad(&dy, 130)));
        assert_eq!(run(1), run(2));
    }

    #[test]
    fn addition_reaches_every_element() {
        let mut sum = vec![1.0; 40_000];
        add_into(&mut sum, &vec![2.0; 40_000]);
        assert!(sum.iter().all(|&v| v == 3.0));
    }

    #[test]
    fn values_are_scaled_and_combined_one_by_one() {
        let mut x = vec![1.0, 2.0];
        scale_by(&mut x, &[3.0, 4.0]);
        combine(&mut x, &[1.0, 0.5], &[10.0, 20.0], &[2.0, 0.1]);
        assert_eq!(x, [23.0, 6.0]);
    }
}
