//! Repair by removal: channels go a few at a time, cheapest first, and each step spreads their output over the others.
//!
//! With A = H + λ m I, V = W at the start and c the channels removed in a step:
//! V ← V − (A⁻¹)_:c ((A⁻¹)_cc)⁻¹ V_c and A⁻¹ ← A⁻¹ − (A⁻¹)_:c ((A⁻¹)_cc)⁻¹ (A⁻¹)_c:, c = those with the smallest
//! ½ ‖V_p‖² / (A⁻¹)_pp. Every step is the exact minimiser over what is left, so once all of P is gone V is the minimiser
//! over S, whatever the order: with m = mean diag H_SS it is [`crate::ridge`] at every λ, found another way.
//!
//! References: Hassibi & Stork 1993; OSSCAR (arXiv 2403.12983) for the updates, whose order matters where P is not given.

use faer::linalg::triangular_solve::solve_lower_triangular_in_place;
use faer::{Mat, Par};
use oops_core::{Fault, Result, bail_if, finite::larger};
use rayon::prelude::*;

use crate::cholesky::Cholesky;
use crate::damped::{Damped, SolveStatus};
use crate::dense::Dense;
use crate::inverse::group_cost;
use crate::linear::Linear;
use crate::product::{add_product, add_symmetric};
use crate::ridge::{Ridge, plain_cut};

/// Repairs `linear` for the sorted list `kept` by removing the other channels `chunk` at a time.
pub fn obs_sequence(linear: &Linear<'_>, kept: &[usize], lambda: f64, chunk: usize) -> Result<Ridge> {
    bail_if(chunk == 0, || Fault::config("channels must be removed at least 1 at a time"))?;
    let (h, all) = (linear.gram(), (0..linear.channels()).collect::<Vec<_>>());
    h.check_channels(kept)?;
    let mut left = h.others(kept);
    if kept.is_empty() || left.is_empty() {
        return Ok(plain_cut(linear, kept, SolveStatus::Solved, 0.0));
    }
    // Damping is measured on the kept channels, as everywhere.
    let unit = h.mean_diagonal(kept) / larger(h.mean_diagonal(&all), f64::MIN_POSITIVE);
    let damped = Damped::new(h, &all, lambda * unit)?;
    let Some(factor) = &damped.factor else { return Ok(plain_cut(linear, kept, damped.status, damped.damping)) };
    let mut state = State::new(linear, factor);
    let single: Vec<Vec<usize>> = all.iter().map(|&j| vec![j]).collect();
    while !left.is_empty() {
        let step = state.cheapest(&single, &mut left, chunk);
        if !state.remove(&single, &step) {
            return Ok(plain_cut(linear, kept, SolveStatus::NotPositiveDefinite, damped.damping));
        }
    }
    let weight = kept.iter().flat_map(|&j| (0..linear.outputs()).map(move |k| (j, k))).map(|at| state.v[at] as f32);
    Ok(Ridge {
        weight: weight.collect(),
        status: damped.status,
        condition: Some(factor.condition()),
        damping: damped.damping,
    })
}

fn weights(linear: &Linear<'_>) -> Mat<f64> {
    Mat::from_fn(linear.channels(), linear.outputs(), |j, k| f64::from(linear.row(j)[k]))
}

/// What the removals so far have left.
pub(crate) struct State {
    /// A⁻¹, of which the lower triangle is kept up to date; rows and columns of removed channels go to zero.
    inverse: Mat<f64>,
    /// V.
    v: Mat<f64>,
}

impl State {
    /// Before any removal.
    pub(crate) fn new(linear: &Linear<'_>, factor: &Cholesky) -> Self {
        Self { inverse: factor.inverse(), v: weights(linear) }
    }

    /// Row p of V.
    fn row(&self, p: usize) -> impl Iterator<Item = f64> + '_ {
        (0..self.v.ncols()).map(move |k| self.v[(p, k)])
    }

    fn inverse(&self, i: usize, j: usize) -> f64 {
        self.inverse[(i.max(j), i.min(j))]
    }

    /// What removing the sorted list `group` now costs, ½ tr(V_gᵀ ((A⁻¹)_gg)⁻¹ V_g).
    fn cost(&self, group: &[usize]) -> f64 {
        if let [p] = group {
            return 0.5 * self.row(*p).map(|v| v * v).sum::<f64>() / self.inverse(*p, *p);
        }
        let block = Mat::<f64>::from_fn(group.len(), group.len(), |i, j| self.inverse(group[i], group[j]));
        group_cost(group.iter().flat_map(|&p| self.row(p)).collect(), &block)
    }

    /// Takes the cheapest of the `groups` that are `left` out of it, with their costs: at most `chunk` channels together,
    /// or one group that is larger. Ties go to the lower group.
    pub(crate) fn cheapest(&self, groups: &[Vec<usize>], left: &mut Vec<usize>, chunk: usize) -> Vec<(f64, usize)> {
        let mut ranked: Vec<(f64, usize)> = left.par_iter().map(|&g| (self.cost(&groups[g]), g)).collect();
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut channels = 0;
        let fits = |&&(_, g): &&(f64, usize)| {
            channels += groups[g].len();
            channels == groups[g].len() || channels <= chunk
        };
        ranked.truncate(ranked.iter().take_while(fits).count());
        let mut gone: Vec<usize> = ranked.iter().map(|r| r.1).collect();
        gone.sort_unstable();
        left.retain(|g| gone.binary_search(g).is_err());
        ranked
    }

    /// Removes the `groups` of a step of [`Self::cheapest`]; false when their block of A⁻¹ is not positive definite.
    pub(crate) fn remove(&mut self, groups: &[Vec<usize>], step: &[(f64, usize)]) -> bool {
        let mut step: Vec<usize> = step.iter().flat_map(|&(_, g)| &groups[g]).copied().collect();
        step.sort_unstable();
        let step = step.as_slice();
        let Some(factor) = Cholesky::new(Dense::gather(step, step, |i, j| self.inverse(i, j))) else { return false };
        let (n, d) = (self.v.nrows(), self.v.ncols());
        // Y = (A⁻¹)_:c L⁻ᵀ and Z = L⁻¹ V_c with L Lᵀ = (A⁻¹)_cc: both updates are products with Y.
        let mut y = Mat::from_fn(step.len(), n, |i, j| self.inverse(step[i], j));
        let mut z = Mat::from_fn(step.len(), d, |i, k| self.v[(step[i], k)]);
        solve_lower_triangular_in_place(factor.lower(), y.as_mut(), Par::Seq);
        solve_lower_triangular_in_place(factor.lower(), z.as_mut(), Par::Seq);
        add_product(self.v.as_mut(), y.transpose(), z.as_ref(), -1.0);
        add_symmetric(self.inverse.as_mut(), y.transpose(), -1.0);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{massive_spectrum, normal, with_threads};
    use crate::{Symmetric, ridge};

    #[test]
    fn a_case_worked_by_hand() {
        // H = [2 1; 1 2], W = (1, 4)ᵀ, channel 1 goes: V = 1 + ½ · 4.
        let linear = Linear::new(Symmetric::packed(2, &[2.0, 1.0, 2.0]).unwrap(), &[1.0, 4.0], 1).unwrap();
        let found = obs_sequence(&linear, &[0], 0.0, 1).unwrap();
        assert!((found.weight[0] - 3.0).abs() < 1e-6, "{found:?}");
    }

    #[test]
    fn whatever_the_chunk_it_is_ridge_at_every_damping() {
        let (n, d) = (90, 12);
        let (packed, w) = (massive_spectrum(91, 3 * n, n), normal(92, n * d));
        let linear = Linear::new(Symmetric::packed(n, &packed).unwrap(), &w, d).unwrap();
        let kept: Vec<usize> = (0..n).filter(|j| j % 3 != 1).collect();
        for lambda in [0.0, 1e-3, 1.0] {
            let expected = ridge(&linear, &kept, lambda).unwrap();
            for chunk in [1, 7, 1000] {
                let found = obs_sequence(&linear, &kept, lambda, chunk).unwrap();
                assert!((found.damping - expected.damping).abs() <= 1e-9 * expected.damping);
                let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-4 * (1.0 + b.abs());
                assert!(found.weight.iter().zip(&expected.weight).all(near), "λ {lambda}, {chunk} at a time");
            }
        }
    }

    #[test]
    fn the_same_bits_for_one_and_two_threads() {
        let (n, d) = (300, 20);
        let (packed, w) = (massive_spectrum(93, 2 * n, n), normal(94, n * d));
        let linear = Linear::new(Symmetric::packed(n, &packed).unwrap(), &w, d).unwrap();
        let kept: Vec<usize> = (0..n).filter(|j| j % 5 != 1).collect();
        let bits = |threads| with_threads(threads, || obs_sequence(&linear, &kept, 1e-3, 16).unwrap().weight);
        assert!(bits(1) == bits(2));
        assert!(obs_sequence(&linear, &kept, 1e-3, 0).is_err());
    }
}
