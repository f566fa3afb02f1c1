//! Linear layers and residual additions.

use gemm::Parallelism;
use rayon::prelude::*;

use super::gemm::{Mat, gemm};

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

/// `sum` ← `sum` + `x`.
pub(crate) fn add_into(sum: &mut [f32], x: &[f32]) {
    const CHUNK: usize = 1 << 14;
    sum.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(sum, x)| {
        simd!(|| sum.iter_mut().zip(x).for_each(|(s, x)| *s += x));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn addition_reaches_every_element() {
        let mut sum = vec![1.0; 40_000];
        add_into(&mut sum, &vec![2.0; 40_000]);
        assert!(sum.iter().all(|&v| v == 3.0));
    }
}
