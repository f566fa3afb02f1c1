//! Diagonals and diagonal blocks of (H + λ m I)⁻¹, and the optimal-brain-surgeon scores that need them.
//!
//! With H + λ m I = L Lᵀ, the block of the inverse over channels g is X ᵀX with L X = E_g, so the inverse itself is never
//! stored: n³ / 3 for the factor and n³ / 3 for all blocks.
//!
//! References: Hassibi & Stork 1993; ZipLM (arXiv 2302.04089) for the group form.

use faer::linalg::matmul::matmul;
use faer::linalg::triangular_solve::solve_lower_triangular_in_place;
use faer::{Accum, Mat, MatMut, Par};
use oops_core::{Fault, Result, bail_if};
use rayon::prelude::*;

use crate::cholesky::Cholesky;
use crate::damped::{Damped, SolveStatus};
use crate::dense::Dense;
use crate::linear::Linear;
use crate::symmetric::Symmetric;

/// Columns of L⁻¹ that one task computes.
const COLUMNS: usize = 64;

/// Numbers that came out of a factorisation, and how it ended.
#[derive(Clone, Debug)]
pub struct Factored {
    /// One number per channel or group; empty when `status` is [`SolveStatus::NotPositiveDefinite`].
    pub values: Vec<f64>,
    /// How the factorisation ended.
    pub status: SolveStatus,
    /// Estimated condition number, see [`crate::Ridge::condition`].
    pub condition: Option<f64>,
}

impl Factored {
    fn new(h: &Symmetric<'_>, lambda: f64, values: impl FnOnce(&Cholesky) -> Vec<f64>) -> Result<Self> {
        let all: Vec<usize> = (0..h.n()).collect();
        let damped = Damped::new(h, &all, lambda)?;
        let condition = damped.factor.as_ref().map(Cholesky::condition);
        Ok(Self { values: damped.factor.as_ref().map_or_else(Vec::new, values), status: damped.status, condition })
    }
}

/// The n diagonal entries of (H + λ m I)⁻¹, m = mean diag H.
pub fn inverse_diagonal(h: &Symmetric<'_>, lambda: f64) -> Result<Factored> {
    Factored::new(h, lambda, diagonal)
}

/// What removing each channel alone would cost after the best repair, ½ ‖W_j‖² / ((H + λ m I)⁻¹)_jj. Higher = keep.
pub fn obs_channels(linear: &Linear<'_>, lambda: f64) -> Result<Factored> {
    let norm = |j: usize| linear.row(j).iter().map(|&w| f64::from(w).powi(2)).sum::<f64>();
    Factored::new(linear.gram(), lambda, |factor| {
        diagonal(factor).iter().enumerate().map(|(j, d)| 0.5 * norm(j) / d).collect()
    })
}

/// What removing each group of channels would cost, ½ tr(W_gᵀ (((H + λ m I)⁻¹)_gg)⁻¹ W_g). Higher = keep.
///
/// `groups` are sorted lists of channels, for example the channels that one key-value group feeds.
pub fn obs_groups(linear: &Linear<'_>, groups: &[Vec<usize>], lambda: f64) -> Result<Factored> {
    check_groups(linear, groups)?;
    Factored::new(linear.gram(), lambda, |factor| {
        let rows = |g: &[usize]| linear.rows(g).into_iter().map(f64::from).collect();
        groups.par_iter().map(|g| group_cost(rows(g), &inverse_block(factor, g))).collect()
    })
}

/// Fails unless `groups` are lists of channels of `linear`, none of them empty.
pub(crate) fn check_groups(linear: &Linear<'_>, groups: &[Vec<usize>]) -> Result<()> {
    groups.iter().try_for_each(|g| linear.gram().check_channels(g))?;
    bail_if(groups.iter().any(Vec::is_empty), || Fault::internal("a group of channels is empty"))
}

pub(crate) fn diagonal(factor: &Cholesky) -> Vec<f64> {
    let all: Vec<usize> = (0..factor.n()).collect();
    all.par_chunks(COLUMNS)
        .flat_map_iter(|columns| {
            let x = half_inverse(factor, columns);
            columns.iter().enumerate().map(|(j, _)| x.col(j).squared_norm_l2()).collect::<Vec<_>>()
        })
        .collect()
}

/// X with L X = E_g, without the rows above the first channel of g, which are zero.
fn half_inverse(factor: &Cholesky, channels: &[usize]) -> Mat<f64> {
    let (start, rows) = (channels[0], factor.n() - channels[0]);
    let mut x = Mat::<f64>::zeros(rows, channels.len());
    channels.iter().enumerate().for_each(|(j, &c)| x[(c - start, j)] = 1.0);
    solve_lower_triangular_in_place(factor.lower().submatrix(start, start, rows, rows), x.as_mut(), Par::Seq);
    x
}

/// The block of the inverse over `channels`.
pub(crate) fn inverse_block(factor: &Cholesky, channels: &[usize]) -> Mat<f64> {
    let x = half_inverse(factor, channels);
    let mut block = Mat::<f64>::zeros(channels.len(), channels.len());
    matmul(block.as_mut(), Accum::Replace, x.transpose(), x.as_ref(), 1.0, Par::Seq);
    block
}

/// ½ tr(YᵀB⁻¹Y) for the rows Y of a group (row-major) and a block B. A block that cannot be inverted means that nothing
/// can replace the group: the cost is infinite.
pub(crate) fn group_cost(mut rows: Vec<f64>, block: &Mat<f64>) -> f64 {
    let n = block.nrows();
    let local: Vec<usize> = (0..n).collect();
    let Some(factor) = Cholesky::new(Dense::gather(&local, &local, |i, j| block[(i, j)])) else {
        return f64::INFINITY;
    };
    let outputs = rows.len() / n.max(1);
    let view = MatMut::from_row_major_slice_mut(&mut rows, n, outputs);
    solve_lower_triangular_in_place(factor.lower(), view, Par::Seq);
    0.5 * rows.iter().map(|v| v * v).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::error_energy;
    use crate::ridge;
    use crate::testkit::{massive_spectrum, normal, with_threads};

    #[test]
    fn a_case_worked_by_hand() {
        // H = [2 1; 1 2]: H⁻¹ = [2 −1; −1 2] / 3, so the diagonal is 2/3 and the costs are ½ w² 3/2.
        let packed = [2.0, 1.0, 2.0];
        let h = Symmetric::packed(2, &packed).unwrap();
        let d = inverse_diagonal(&h, 0.0).unwrap().values;
        assert!(d.iter().all(|v| (v - 2.0 / 3.0).abs() < 1e-15));
        let linear = Linear::new(h, &[1.0, 4.0], 1).unwrap();
        let costs = obs_channels(&linear, 0.0).unwrap().values;
        assert!((costs[0] - 0.75).abs() < 1e-14 && (costs[1] - 12.0).abs() < 1e-13);
    }

    #[test]
    fn the_cost_is_half_the_error_that_the_best_repair_leaves() {
        let (n, d) = (150, 8);
        let (packed, w) = (massive_spectrum(21, 2 * n, n), normal(22, n * d));
        let linear = Linear::new(Symmetric::packed(n, &packed).unwrap(), &w, d).unwrap();
        let groups: Vec<Vec<usize>> = vec![vec![3], (40..60).collect(), vec![0, 50, 149]];
        let costs = obs_groups(&linear, &groups, 0.0).unwrap().values;
        for (group, cost) in groups.iter().zip(&costs) {
            let kept = linear.gram().others(group);
            let repaired = ridge(&linear, &kept, 0.0).unwrap().weight;
            let error = error_energy(&linear, &kept, &repaired, None).unwrap();
            assert!((2.0 * cost / error - 1.0).abs() < 1e-3, "{cost} {error}");
        }
    }

    #[test]
    fn a_group_of_one_is_a_channel_and_threads_do_not_matter() {
        let (n, d) = (300, 6);
        let (packed, w) = (massive_spectrum(23, 2 * n, n), normal(24, n * d));
        let linear = Linear::new(Symmetric::packed(n, &packed).unwrap(), &w, d).unwrap();
        let channels = |threads| with_threads(threads, || obs_channels(&linear, 1e-3).unwrap().values);
        let singles: Vec<Vec<usize>> = (0..n).map(|j| vec![j]).collect();
        let groups = obs_groups(&linear, &singles, 1e-3).unwrap().values;
        assert!(channels(1) == channels(2));
        assert!(channels(1).iter().zip(&groups).all(|(a, b)| (a / b - 1.0).abs() < 1e-9));
    }
}
