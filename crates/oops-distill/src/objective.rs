//! The loss of one block: Σ_t w_t‖f(x_t) − y_t‖² / Σ_t w_t‖y_t‖², with w_t = min(1, κ·median‖y‖²/‖y_t‖²)
//! ([`oops_linalg::stats::TokenWeights`]).
//!
//! The weights keep the few massive tokens, whose residuals are thousands of times larger than all others, from owning
//! the loss. They also enter the denominator, so that the figure stays a relative error: with plain ‖y‖² it would be
//! tiny wherever a massive token sits. Sums are in f64 and in a fixed order; the gradient is written down by hand.

use candle_core::Tensor;
use oops_core::{Fault, Result, bail_if};
use oops_model::{values, with_values};
use rayon::prelude::*;

/// Targets of one sequence.
pub(crate) struct Target<'a> {
    /// y, `[T, hidden]`.
    pub(crate) y: Tensor,
    /// w, one per token.
    pub(crate) weights: &'a [f32],
}

/// ‖y_t‖² of every row of `y` `[T, hidden]`.
pub(crate) fn energies(y: &Tensor) -> Result<Vec<f64>> {
    let width = width(y)?;
    with_values(y, |v| v.par_chunks(width).map(|row| row.iter().map(|v| f64::from(*v).powi(2)).sum()).collect())
}

/// Σ_t w_t·e_t.
pub(crate) fn weighted(energies: &[f64], weights: &[f32]) -> f64 {
    energies.iter().zip(weights).map(|(e, w)| e * f64::from(*w)).sum()
}

/// Σ_t w_t‖f_t − y_t‖² of one sequence, f `[T, hidden]`.
pub(crate) fn error(f: &Tensor, target: &Target<'_>) -> Result<f64> {
    let width = width(&target.y)?;
    bail_if(f.dims() != target.y.dims(), || Fault::internal("output and target differ in shape"))?;
    let row = |((f, y), w): ((&[f32], &[f32]), &f32)| {
        f.iter().zip(y).map(|(f, y)| f64::from(f - y).powi(2)).sum::<f64>() * f64::from(*w)
    };
    let rows = |f: &[f32], y: &[f32]| -> Vec<f64> {
        f.par_chunks(width).zip(y.par_chunks(width)).zip(target.weights.par_iter()).map(row).collect()
    };
    Ok(with_values(f, |f| with_values(&target.y, |y| rows(f, y)))??.iter().sum())
}

/// Loss of a batch f `[N, hidden]`, whose sequences lie one after another in the order of `targets`, divided by `scale`,
/// and its gradient 2·w_t·(f_t − y_t)/`scale` of f's shape.
pub(crate) fn loss(f: &Tensor, targets: &[Target<'_>], scale: f64) -> Result<(f64, Tensor)> {
    let tokens: usize = targets.iter().map(|t| t.weights.len()).sum();
    bail_if(f.dims() != [tokens, width(f)?], || Fault::internal("outputs and targets differ in shape"))?;
    let mut gradient = values(f)?;
    let (mut total, mut rest) = (0.0, gradient.as_mut_slice());
    for target in targets {
        let width = width(&target.y)?;
        bail_if(target.y.dims() != [target.weights.len(), width], || Fault::internal("a target differs in shape"))?;
        let (mine, others) = rest.split_at_mut(target.y.elem_count());
        rest = others;
        let row = |((f, y), w): ((&mut [f32], &[f32]), &f32)| {
            let mut sum = 0.0;
            for (f, y) in f.iter_mut().zip(y) {
                let difference = *f - y;
                sum += f64::from(difference).powi(2);
                *f = (f64::from(2.0 * w * difference) / scale) as f32;
            }
            sum * f64::from(*w)
        };
        let rows: Vec<f64> = with_values(&target.y, |y| {
            mine.par_chunks_mut(width).zip(y.par_chunks(width)).zip(target.weights.par_iter()).map(row).collect()
        })?;
        total += rows.iter().sum::<f64>();
    }
    let gradient = Tensor::from_vec(gradient, f.shape(), f.device()).map_err(crate::fault)?;
    Ok((total / scale, gradient))
}

fn width(t: &Tensor) -> Result<usize> {
    t.dims().last().copied().filter(|w| *w > 0).ok_or_else(|| Fault::internal("a stream without width"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use oops_model::matrix;

    #[test]
    fn a_massive_token_weighs_no_more_than_kappa_medians() {
        let y = matrix(vec![1.0, 0.0, 0.0, 2.0, 300.0, 400.0], 3, 2).unwrap();
        let e = energies(&y).unwrap();
        assert_eq!(e, [1.0, 4.0, 250_000.0]);
        let law = oops_linalg::stats::TokenWeights::new(10.0, &e);
        let w: Vec<f32> = e.iter().map(|&e| law.of(e) as f32).collect();
        assert_eq!(w[..2], [1.0, 1.0]);
        assert!((weighted(&e, &w) - (1.0 + 4.0 + 40.0)).abs() < 1e-3);
    }

    #[test]
    fn the_gradient_is_that_of_the_error() {
        let y = matrix(vec![1.0, 2.0, 3.0, 4.0], 2, 2).unwrap();
        let f = matrix(vec![1.5, 2.0, 1.0, 5.0], 2, 2).unwrap();
        let target = || Target { y: y.clone(), weights: &[1.0, 0.5] };
        // 0.25 + 0.5·(4 + 1) = 2.75.
        assert!((error(&f, &target()).unwrap() - 2.75).abs() < 1e-12);
        let (value, gradient) = loss(&f, &[target()], 2.0).unwrap();
        assert!((value - 1.375).abs() < 1e-12);
        assert_eq!(values(&gradient).unwrap(), [0.5, 0.0, -1.0, 0.5]);
        assert_eq!(gradient.dims(), [2, 2]);
        assert!(loss(&f, &[target(), target()], 2.0).is_err());
    }
}
