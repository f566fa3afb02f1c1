//! RMSNorm: y = w ⊙ x / sqrt(mean x² + ε), row by row (Zhang & Sennrich 2019, arXiv 1910.07467).

use rayon::prelude::*;

use super::{ROWS_PER_TASK, vector::sum_of_squares};

/// Normalises every row of `weight.len()` values of `x` into `out`.
pub(crate) fn rms_norm(x: &[f32], weight: &[f32], eps: f64, out: &mut [f32]) {
    let width = weight.len().max(1);
    let task = width * ROWS_PER_TASK;
    x.par_chunks(task).zip(out.par_chunks_mut(task)).for_each(|(x, out)| {
        simd!(|| x.chunks_exact(width).zip(out.chunks_exact_mut(width)).for_each(|(x, out)| row(x, weight, eps, out)));
    });
}

#[inline(always)]
fn row(x: &[f32], weight: &[f32], eps: f64, out: &mut [f32]) {
    let scale = (1.0 / (f64::from(sum_of_squares(x)) / x.len() as f64 + eps).sqrt()) as f32;
    for ((out, x), w) in out.iter_mut().zip(x).zip(weight) {
        *out = w * (x * scale);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{max_diff, noise};

    #[test]
    fn rows_match_the_formula_in_f64() {
        let (x, w, width) = (noise(70 * 45, 1), noise(45, 2), 45);
        let mut out = vec![0.0; x.len()];
        rms_norm(&x, &w, 1e-5, &mut out);
        let expected: Vec<f32> = x
            .chunks_exact(width)
            .flat_map(|row| {
                let mean = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / width as f64;
                let scale = 1.0 / (mean + 1e-5).sqrt();
                row.iter().zip(&w).map(move |(x, w)| (f64::from(*x) * scale * f64::from(*w)) as f32).collect::<Vec<_>>()
            })
            .collect();
        assert!(max_diff(&out, &expected) < 1e-6);
    }

    #[test]
    fn three_four_by_hand() {
        // mean of 9 and 16 is 12.5; 3/sqrt(12.5) = 0.848528, 4/sqrt(12.5) = 1.131371
        let mut out = [0.0; 2];
        rms_norm(&[3.0, 4.0], &[1.0, 2.0], 0.0, &mut out);
        assert!(max_diff(&out, &[0.848_528_1, 2.262_742]) < 1e-6);
    }
}
