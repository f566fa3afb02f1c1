//! Sequences that go through a block together, and what their tokens weigh in a fit.

use candle_core::Tensor;
use oops_artifact::Split;
use oops_core::Result;
use oops_linalg::stats::median;
use oops_model::{matrix, with_values};

use crate::forward::fault;

/// Sequences that go through a block together.
pub(crate) struct Batch {
    pub(crate) split: Split,
    pub(crate) lengths: Vec<usize>,
}

/// √w_t of the tokens of a batch as a column, w_t = min(1, κ·median‖y‖²/‖y_t‖²) for the rows of `y`; `None` for κ = 0.
pub(crate) fn token_roots(y: &Tensor, kappa: f64) -> Result<Option<Tensor>> {
    if kappa == 0.0 {
        return Ok(None);
    }
    let (rows, width) = y.dims2().map_err(fault)?;
    let energy = |row: &[f32]| row.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
    let energies = with_values(y, |y| y.chunks_exact(width.max(1)).map(energy).collect::<Vec<_>>())?;
    let limit = kappa * median(&energies);
    let root = |&e: &f64| if e > limit { (limit / e).sqrt() as f32 } else { 1.0 };
    matrix(energies.iter().map(root).collect(), rows, 1).map(Some)
}

/// Rows of `x` times the column `roots`.
pub(crate) fn weighted(x: &Tensor, roots: Option<&Tensor>) -> Result<Tensor> {
    roots.map_or_else(|| Ok(x.clone()), |roots| x.broadcast_mul(roots).map_err(fault))
}

#[cfg(test)]
mod tests {
    use oops_model::values;

    use super::*;

    #[test]
    fn a_massive_token_weighs_as_much_as_its_norm_allows() {
        // Energies 1, 4, 100: with κ = 1 the limit is their median 4, so the loud row counts as one of energy 4.
        let y = oops_model::matrix(vec![1.0, 2.0, 10.0], 3, 1).unwrap();
        let roots = token_roots(&y, 1.0).unwrap().unwrap();
        assert_eq!(values(&roots).unwrap(), [1.0, 1.0, 0.2]);
        assert_eq!(values(&weighted(&y, Some(&roots)).unwrap()).unwrap(), [1.0, 2.0, 2.0]);
        assert!(token_roots(&y, 0.0).unwrap().is_none());
    }
}
