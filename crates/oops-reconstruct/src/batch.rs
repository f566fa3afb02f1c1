//! Sequences that go through a block together, and what their tokens weigh in a fit.

use candle_core::Tensor;
use oops_artifact::Split;
use oops_core::Result;
use oops_linalg::stats::TokenWeights;
use oops_model::{matrix, with_values};

use crate::forward::fault;

/// Sequences that go through a block together.
pub(crate) struct Batch {
    pub(crate) split: Split,
    pub(crate) lengths: Vec<usize>,
    /// Whether each token judges.
    pub(crate) judges: Vec<bool>,
}

/// The law of token weights for `kappa`, from the tokens of all batches that are fitted on; `y` gives the rows of a batch.
pub(crate) fn token_weights(
    batches: &[Batch],
    kappa: f64,
    mut y: impl FnMut(usize) -> Result<Tensor>,
) -> Result<TokenWeights> {
    let mut all = Vec::new();
    for (i, _) in batches.iter().enumerate().filter(|(_, b)| kappa > 0.0 && b.split == Split::Fit) {
        all.extend(energies(&y(i)?)?);
    }
    Ok(TokenWeights::new(kappa, &all))
}

/// ‖y_t‖² of every row.
fn energies(y: &Tensor) -> Result<Vec<f64>> {
    let (_, width) = y.dims2().map_err(fault)?;
    let energy = |row: &[f32]| row.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
    with_values(y, |y| y.chunks_exact(width.max(1)).map(energy).collect())
}

/// √w_t of the rows of `y` as a column; `None` where all weigh 1.
pub(crate) fn token_roots(y: &Tensor, law: &TokenWeights) -> Result<Option<Tensor>> {
    if law.is_plain() {
        return Ok(None);
    }
    let roots: Vec<f32> = energies(y)?.iter().map(|&e| law.of(e).sqrt() as f32).collect();
    let rows = roots.len();
    matrix(roots, rows, 1).map(Some)
}

/// Rows of `x` times the column `roots`.
pub(crate) fn weighted(x: &Tensor, roots: Option<&Tensor>) -> Result<Tensor> {
    roots.map_or_else(|| Ok(x.clone()), |roots| x.broadcast_mul(roots).map_err(fault))
}

#[cfg(test)]
mod tests {
    use oops_model::values;

    use super::*;

    fn batch(split: Split) -> Batch {
        Batch { split, lengths: vec![1], judges: vec![split == Split::Heldout] }
    }

    #[test]
    fn a_massive_token_weighs_as_much_as_its_norm_allows() {
        // Energies 1, 4, 100: with κ = 1 the limit is their median 4, so the loud row counts as one of energy 4.
        let y = oops_model::matrix(vec![1.0, 2.0, 10.0], 3, 1).unwrap();
        let law = token_weights(&[batch(Split::Fit)], 1.0, |_| Ok(y.clone())).unwrap();
        let roots = token_roots(&y, &law).unwrap().unwrap();
        assert_eq!(values(&roots).unwrap(), [1.0, 1.0, 0.2]);
        assert_eq!(values(&weighted(&y, Some(&roots)).unwrap()).unwrap(), [1.0, 2.0, 2.0]);
        let plain = token_weights(&[batch(Split::Fit)], 0.0, |_| Ok(y.clone())).unwrap();
        assert!(token_roots(&y, &plain).unwrap().is_none());
    }

    #[test]
    fn weights_do_not_depend_on_how_tokens_are_batched() {
        let rows = [1.0, 2.0, 10.0, 3.0];
        let with = |sizes: &[usize]| {
            let part = |i: usize| rows[sizes[..i].iter().sum::<usize>()..][..sizes[i]].to_vec();
            let batches: Vec<_> = sizes.iter().map(|_| batch(Split::Fit)).collect();
            let y = |i| matrix(part(i), sizes[i], 1);
            let law = token_weights(&batches, 2.0, y).unwrap();
            let roots = |i| values(&token_roots(&y(i).unwrap(), &law).unwrap().unwrap()).unwrap();
            (0..sizes.len()).flat_map(roots).collect::<Vec<f32>>()
        };
        let whole = with(&[4]);
        assert!(whole[2] < 1.0);
        assert_eq!((with(&[1, 3]), with(&[2, 2]), with(&[1; 4])), (whole.clone(), whole.clone(), whole));
        // What judges has no say in what fitted tokens weigh.
        let law = |batches: &[Batch]| token_weights(batches, 1.0, |i| matrix(vec![[1.0, 9.0][i]], 1, 1)).unwrap();
        assert_eq!(law(&[batch(Split::Fit), batch(Split::Heldout)]), law(&[batch(Split::Fit)]));
    }
}
