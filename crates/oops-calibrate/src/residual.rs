//! Outliers of the residual stream: massive dimensions and massive tokens.
//!
//! A few dimensions of the stream carry values thousands of times the rest at a few tokens (Sun et al., Massive
//! Activations in Large Language Models, arXiv 2402.17762). The limits here are relative to medians, so that they mean
//! the same in every block and model.

use candle_core::Tensor;
use oops_artifact::{ResidualStats, SiteStats, Split};
use oops_core::{Result, Site};
use oops_linalg::stats::{count_above_mean, median};
use oops_model::{Block, with_values};

use crate::{hidden::Batch, moments::Moments};

/// Accumulates the residual stream behind one block.
pub(crate) struct Residual {
    moments: [Moments; 2],
    tokens: Vec<(u32, u32, f32)>,
}

impl Residual {
    /// For a stream of `hidden` dimensions; `outlier_rms` as for the sites.
    pub(crate) fn new(hidden: usize, outlier_rms: f64) -> Self {
        Self { moments: Split::ALL.map(|_| Moments::new(hidden, outlier_rms)), tokens: Vec::new() }
    }

    /// Adds the rows behind a batch.
    pub(crate) fn add(&mut self, batch: &Batch, rows: &Tensor) -> Result<()> {
        let energies = with_values(rows, |x| self.moments[batch.split as usize].add(x))??;
        let places = batch.sequences.iter().zip(&batch.lengths).flat_map(|(&s, &n)| (0..n as u32).map(move |t| (s, t)));
        self.tokens.extend(places.zip(energies).map(|((s, t), energy)| (s, t, energy as f32)));
        Ok(())
    }

    /// What is massive: a dimension whose max|x| exceeds `ratio` times the median over dimensions of the RMS, a token
    /// whose ‖x‖² exceeds `ratio` times the median. `outlier_share` is that of the block's weights.
    pub(crate) fn finish(mut self, ratio: f64, outlier_share: f64) -> ResidualStats {
        let [fit, heldout] = self.moments.map(|m| m.finish());
        let dimensions = fit.merged(&heldout);
        self.tokens.sort_unstable_by_key(|t| (t.0, t.1));
        let rms: Vec<f64> = dimensions.second.iter().map(|v| v.sqrt()).collect();
        let norms: Vec<f64> = self.tokens.iter().map(|t| f64::from(t.2)).collect();
        let above = |values: &[f64], limit: f64| (0..values.len()).filter(|&i| values[i] > limit).collect();
        let peaks: Vec<f64> = dimensions.max_abs.iter().map(|&v| f64::from(v)).collect();
        // Nothing is above the median of nothing.
        let limit = |values: &[f64]| median(values).map_or(f64::INFINITY, |m| ratio * m);
        let massive_dimensions = above(&peaks, limit(&rms));
        let massive_tokens = above(&norms, limit(&norms));
        ResidualStats { dimensions, tokens: self.tokens, massive_dimensions, massive_tokens, outlier_share }
    }
}

/// OWL's layer outlier distribution: the share of the weights of o_proj and down_proj whose |W_ij|·‖X_j‖ exceeds
/// `multiple` times the mean over their projection (Yin et al., arXiv 2310.05175).
pub(crate) fn outlier_share(block: &Block, stats: &[(Site, SiteStats)], multiple: f64) -> Result<f64> {
    let (mut above, mut of) = (0, 0);
    for (site, stats) in stats {
        let norms: Vec<f64> = stats.all().second.iter().map(|x2| x2.sqrt()).collect();
        let (loud, all) =
            with_values(&block.projection(*site).weight, |w| (count_above_mean(w, &norms, multiple), w.len()))?;
        above += loud;
        of += all;
    }
    Ok(above as f64 / of.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use oops_model::{StreamDtype, matrix};

    use super::*;

    #[test]
    fn a_massive_dimension_and_a_massive_token_are_found() {
        let (hidden, tokens) = (8, 50);
        let mut x = vec![1.0f32; hidden * tokens];
        // Token 1 of the second sequence of the batch: dimension 5 carries a thousand times the rest.
        x[31 * hidden + 5] = 1000.0;
        let mut residual = Residual::new(hidden, 6.0);
        let x = matrix(x, tokens, hidden).unwrap();
        let (sequences, lengths) = (vec![3, 7], vec![30, 20]);
        let parts = oops_artifact::Rows::new(&[false; 50]);
        let batch = Batch { split: Split::Fit, sequences, lengths, parts, x: x.clone(), dtype: StreamDtype::F32 };
        residual.add(&batch, &x).unwrap();
        let found = residual.finish(100.0, 0.25);
        assert_eq!((found.massive_dimensions, found.massive_tokens), (vec![5], vec![31]));
        assert_eq!((found.tokens[31].0, found.tokens[31].1, found.outlier_share), (7, 1, 0.25));
    }
}
