//! Cross-entropy of logits against target tokens.

use rayon::prelude::*;

use super::vector;

/// ln Σ_j e^(x_j) − x_target for every row of `logits` `[targets.len(), vocab]`, in nats.
///
/// The row's maximum is subtracted first; exponentials are f32, their sum f64.
pub(crate) fn row_losses(logits: &[f32], vocab: usize, targets: &[u32]) -> Vec<f64> {
    let rows = logits.par_chunks_exact(vocab.max(1)).zip(targets);
    rows.map(|(row, &target)| simd!(|| loss(row, row[target as usize]))).collect()
}

/// [`row_losses`], and `logits` ← their gradient softmax(x) − one-hot(target), row by row.
pub(crate) fn row_losses_grad(logits: &mut [f32], vocab: usize, targets: &[u32]) -> Vec<f64> {
    let rows = logits.par_chunks_exact_mut(vocab.max(1)).zip(targets);
    rows.map(|(row, &target)| simd!(|| loss_grad(row, target as usize))).collect()
}

#[inline(always)]
fn loss_grad(row: &mut [f32], target: usize) -> f64 {
    let max = vector::max(row);
    let (sum, aim) = (vector::sum_exp(row, max), f64::from(row[target]));
    let inverse = (1.0 / sum) as f32;
    row.iter_mut().for_each(|v| *v = vector::exp(*v - max) * inverse);
    row[target] -= 1.0;
    sum.ln() + f64::from(max) - aim
}

#[inline(always)]
fn loss(row: &[f32], target: f32) -> f64 {
    let max = vector::max(row);
    vector::sum_exp(row, max).ln() + f64::from(max) - f64::from(target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::noise;

    #[test]
    fn matches_the_formula_in_f64() {
        let (vocab, targets) = (1003, [0, 500, 1002]);
        let logits: Vec<f32> = noise(3 * vocab, 1).iter().map(|v| v * 60.0).collect();
        let got = row_losses(&logits, vocab, &targets);
        for (i, &t) in targets.iter().enumerate() {
            let row = &logits[i * vocab..(i + 1) * vocab];
            let exact = row.iter().map(|v| f64::from(*v).exp()).sum::<f64>().ln() - f64::from(row[t as usize]);
            assert!((got[i] - exact).abs() < 1e-5, "{} {exact}", got[i]);
        }
    }

    #[test]
    fn gradient_is_softmax_minus_one_hot() {
        let (vocab, targets) = (1003, [7, 1002]);
        let logits: Vec<f32> = noise(2 * vocab, 1).iter().map(|v| v * 9.0).collect();
        let mut grad = logits.clone();
        assert_eq!(row_losses_grad(&mut grad, vocab, &targets), row_losses(&logits, vocab, &targets));
        for (i, &t) in targets.iter().enumerate() {
            let row = &logits[i * vocab..(i + 1) * vocab];
            let sum: f64 = row.iter().map(|v| f64::from(*v).exp()).sum();
            for (j, (x, g)) in row.iter().zip(&grad[i * vocab..]).enumerate() {
                let exact = f64::from(*x).exp() / sum - f64::from(u8::from(j == t as usize));
                assert!((f64::from(*g) - exact).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn equal_logits_cost_ln_vocab() {
        assert!((row_losses(&[7.0; 8], 8, &[3])[0] - 8f64.ln()).abs() < 1e-7);
    }
}
