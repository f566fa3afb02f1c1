//! Local search over which groups of channels stay: drop the cheapest kept, take back the best removed, keep the swap
//! only if the error after the best repair falls.
//!
//! With S kept, P removed, A = H_SS + λmI and V the ridge repair on S:
//! * dropping a kept group g costs ½ tr(V_gᵀ ((A⁻¹)_gg)⁻¹ V_g);
//! * taking back a removed group g gains ½ tr(R_gᵀ (M_gg)⁻¹ R_g), R = (H(W − V))_P, M = H_PP + λmI − H_PS A⁻¹ H_SP.
//!
//! Both are exact for one group at λ = 0, so a swap of several is judged by the error itself.
//! Reference: the local search of OSSCAR (Meng et al., arXiv 2403.12983).

use faer::linalg::matmul::matmul;
use faer::linalg::triangular_solve::solve_lower_triangular_in_place;
use faer::{Accum, Mat, Par};
use oops_core::Result;
use rayon::prelude::*;

use crate::cholesky::Cholesky;
use crate::damped::Damped;
use crate::dense::Dense;
use crate::error::error_energy;
use crate::inverse::{diagonal, group_cost, inverse_block};
use crate::linear::Linear;
use crate::ridge::{Ridge, ridge};

/// Channels of removed groups that one task looks at together.
const CHANNELS: usize = 64;

/// What [`exchange`] may do.
#[derive(Clone, Copy, Debug)]
pub struct ExchangeOptions {
    /// λ, relative to the mean of diag H_SS.
    pub lambda: f64,
    /// Most groups that change places in one swap.
    pub step: usize,
    /// Most accepted swaps.
    pub rounds: usize,
}

/// What a local search came to.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Groups that stay, ascending; as many as came in.
    pub kept: Vec<usize>,
    /// Error energy tr((W − V)ᵀH(W − V)) after the repair: at the start, then after each accepted swap.
    pub errors: Vec<f64>,
}

/// Swaps groups of channels of `linear` while that lowers the error after a ridge repair.
///
/// `groups` are disjoint sorted lists of channels; the groups `kept` (ascending) stay, the others go; `fixed` groups
/// never change places. Channels of no group always stay.
pub fn exchange(
    linear: &Linear<'_>,
    groups: &[Vec<usize>],
    kept: &[usize],
    fixed: &[bool],
    options: ExchangeOptions,
) -> Result<Exchange> {
    let mut best = State::new(linear, groups, kept.to_vec(), options.lambda)?;
    let mut errors = vec![best.error];
    while errors.len() <= options.rounds {
        let (drops, adds) = best.orders(linear, groups, fixed, options.lambda)?;
        let mut step = options.step.min(drops.len()).min(adds.len());
        let mut better = None;
        while step > 0 && better.is_none() {
            let swapped = swap(&best.kept, &drops[..step], &adds[..step]);
            let state = State::new(linear, groups, swapped, options.lambda)?;
            // What is below the precision of the Gram matrix is no gain.
            better = (state.error < best.error * (1.0 - 1e-6)).then_some(state);
            step /= 2;
        }
        let Some(state) = better else { break };
        best = state;
        errors.push(best.error);
    }
    Ok(Exchange { kept: best.kept, errors })
}

fn swap(kept: &[usize], drops: &[usize], adds: &[usize]) -> Vec<usize> {
    let mut out: Vec<usize> = kept.iter().copied().filter(|g| !drops.contains(g)).chain(adds.iter().copied()).collect();
    out.sort_unstable();
    out
}

/// A choice of groups, its repair and its error.
struct State {
    kept: Vec<usize>,
    channels: Vec<usize>,
    repair: Ridge,
    error: f64,
}

impl State {
    fn new(linear: &Linear<'_>, groups: &[Vec<usize>], kept: Vec<usize>, lambda: f64) -> Result<Self> {
        let mut stays = vec![true; linear.channels()];
        groups.iter().flatten().for_each(|&j| stays[j] = false);
        kept.iter().flat_map(|&g| &groups[g]).for_each(|&j| stays[j] = true);
        let channels: Vec<usize> = (0..stays.len()).filter(|&j| stays[j]).collect();
        let repair = ridge(linear, &channels, lambda)?;
        let error = error_energy(linear, &channels, &repair.weight, None)?;
        Ok(Self { kept, channels, repair, error })
    }

    /// Kept groups, cheapest to drop first, and removed groups, best to take back first; ties by index.
    fn orders(
        &self,
        linear: &Linear<'_>,
        groups: &[Vec<usize>],
        fixed: &[bool],
        lambda: f64,
    ) -> Result<(Vec<usize>, Vec<usize>)> {
        let damped = Damped::new(linear.gram(), &self.channels, lambda)?;
        let Some(factor) = &damped.factor else { return Ok((Vec::new(), Vec::new())) };
        let removed: Vec<usize> = (0..groups.len()).filter(|g| self.kept.binary_search(g).is_err()).collect();
        let sort = |all: &[usize], value: Vec<f64>, sign: f64| {
            let mut order: Vec<(f64, usize)> =
                value.iter().map(|v| sign * v).zip(all.iter().copied()).filter(|(_, g)| !fixed[*g]).collect();
            order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            order.into_iter().map(|(_, g)| g).collect::<Vec<_>>()
        };
        let drops = sort(&self.kept, self.drop_costs(linear, groups, factor), 1.0);
        let adds = sort(&removed, self.gains(linear, groups, &removed, factor, damped.damping), -1.0);
        Ok((drops, adds))
    }

    /// ½ tr(V_gᵀ ((A⁻¹)_gg)⁻¹ V_g) of every kept group.
    fn drop_costs(&self, linear: &Linear<'_>, groups: &[Vec<usize>], factor: &Cholesky) -> Vec<f64> {
        let at = |j: usize| self.channels.binary_search(&j).unwrap_or_default();
        let d = linear.outputs();
        let row = |i: usize| &self.repair.weight[i * d..(i + 1) * d];
        if groups.iter().all(|g| g.len() == 1) {
            let inverse = diagonal(factor);
            let energy = |i: usize| row(i).iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
            return self.kept.iter().map(|&g| at(groups[g][0])).map(|i| 0.5 * energy(i) / inverse[i]).collect();
        }
        let cost = |&g: &usize| {
            let local: Vec<usize> = groups[g].iter().map(|&j| at(j)).collect();
            let rows: Vec<f64> = local.iter().flat_map(|&i| row(i)).map(|&v| f64::from(v)).collect();
            group_cost(rows, &inverse_block(factor, &local))
        };
        self.kept.par_iter().map(cost).collect()
    }

    /// ½ tr(R_gᵀ (M_gg)⁻¹ R_g) of every removed group.
    fn gains(
        &self,
        linear: &Linear<'_>,
        groups: &[Vec<usize>],
        removed: &[usize],
        factor: &Cholesky,
        damping: f64,
    ) -> Vec<f64> {
        let (h, d, error) = (linear.gram(), linear.outputs(), self.difference(linear));
        let all: Vec<usize> = (0..linear.channels()).collect();
        // Groups share triangular solves and products, CHANNELS columns at a time.
        let together = (CHANNELS / groups.iter().map(Vec::len).max().unwrap_or(1).max(1)).max(1);
        let gain = |chunk: &[usize]| -> Vec<f64> {
            let channels: Vec<usize> = chunk.iter().flat_map(|&g| groups[g].iter().copied()).collect();
            let mut x = Dense::gather(&self.channels, &channels, |i, j| h.get(i, j));
            solve_lower_triangular_in_place(factor.lower(), x.view_mut(), Par::Seq);
            let rows = Dense::gather(&channels, &all, |i, j| h.get(i, j));
            let mut slope = Mat::<f64>::zeros(channels.len(), d);
            matmul(slope.as_mut(), Accum::Replace, rows.view(), error.as_ref(), 1.0, Par::Seq);
            let mut start = 0;
            let one = |&g: &usize| {
                let own = &groups[g];
                let mut m = Mat::<f64>::from_fn(own.len(), own.len(), |i, j| {
                    h.get(own[i], own[j]) + if i == j { damping } else { 0.0 }
                });
                let columns = x.view().subcols(start, own.len());
                matmul(m.as_mut(), Accum::Add, columns.transpose(), columns, -1.0, Par::Seq);
                let rows = (start..start + own.len()).flat_map(|i| (0..d).map(move |j| (i, j)));
                start += own.len();
                group_cost(rows.map(|(i, j)| slope[(i, j)]).collect(), &m)
            };
            chunk.iter().map(one).collect()
        };
        removed.par_chunks(together).flat_map_iter(gain).collect()
    }

    /// W − V, with V = 0 on what is removed.
    fn difference(&self, linear: &Linear<'_>) -> Mat<f64> {
        let d = linear.outputs();
        let mut out = Mat::<f64>::from_fn(linear.channels(), d, |i, j| f64::from(linear.row(i)[j]));
        for (i, &c) in self.channels.iter().enumerate() {
            (0..d).for_each(|j| out[(c, j)] -= f64::from(self.repair.weight[i * d + j]));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Symmetric;
    use crate::testkit::{massive_spectrum, normal, with_threads};

    fn options(step: usize) -> ExchangeOptions {
        ExchangeOptions { lambda: 0.0, step, rounds: 20 }
    }

    #[test]
    fn the_worse_of_two_channels_is_given_back() {
        // Uncorrelated channels of energies 1, 4, 9 and equal weights: the best pair to keep is 1 and 2.
        let h = [1.0, 0.0, 4.0, 0.0, 0.0, 9.0];
        let linear = Linear::new(Symmetric::packed(3, &h).unwrap(), &[1.0, 1.0, 1.0], 1).unwrap();
        let groups: Vec<Vec<usize>> = (0..3).map(|j| vec![j]).collect();
        let found = exchange(&linear, &groups, &[0, 1], &[false; 3], options(2)).unwrap();
        assert_eq!((found.kept, found.errors), (vec![1, 2], vec![9.0, 1.0]));
        let bound = exchange(&linear, &groups, &[0, 1], &[true, false, false], options(2)).unwrap();
        assert_eq!((bound.kept, bound.errors), (vec![0, 2], vec![9.0, 4.0]));
    }

    /// One group at λ = 0: costs and gains are the change of the error, exactly.
    #[test]
    fn costs_and_gains_foretell_the_error() {
        let (n, d) = (40, 6);
        let (packed, w) = (massive_spectrum(31, 3 * n, n), normal(32, n * d));
        let linear = Linear::new(Symmetric::packed(n, &packed).unwrap(), &w, d).unwrap();
        for size in [1, 4] {
            let groups: Vec<Vec<usize>> = (0..n / size).map(|g| (g * size..(g + 1) * size).collect()).collect();
            let kept: Vec<usize> = (0..groups.len()).filter(|g| g % 3 != 0).collect();
            let error = |kept: Vec<usize>| State::new(&linear, &groups, kept, 0.0).unwrap().error;
            let state = State::new(&linear, &groups, kept.clone(), 0.0).unwrap();
            let damped = Damped::new(linear.gram(), &state.channels, 0.0).unwrap();
            let factor = damped.factor.as_ref().unwrap();
            let drop = 2.0 * state.drop_costs(&linear, &groups, factor)[2];
            let without = error(swap(&kept, &[kept[2]], &[]));
            assert!(((without - state.error) / drop - 1.0).abs() < 1e-2, "{without} {} {drop}", state.error);
            let gain = 2.0 * state.gains(&linear, &groups, &[3], factor, 0.0)[0];
            let with = error(swap(&kept, &[], &[3]));
            assert!(((state.error - with) / gain - 1.0).abs() < 1e-2, "{with} {} {gain}", state.error);
        }
    }

    #[test]
    fn errors_only_fall_and_threads_do_not_matter() {
        let (n, d) = (90, 7);
        let (packed, w) = (massive_spectrum(33, 2 * n, n), normal(34, n * d));
        let linear = Linear::new(Symmetric::packed(n, &packed).unwrap(), &w, d).unwrap();
        let groups: Vec<Vec<usize>> = (0..n).map(|j| vec![j]).collect();
        let kept: Vec<usize> = (0..n / 2).collect();
        let run =
            |threads| with_threads(threads, || exchange(&linear, &groups, &kept, &vec![false; n], options(9)).unwrap());
        let (one, two) = (run(1), run(2));
        assert!(one.errors.len() > 1 && one.errors.windows(2).all(|w| w[1] < w[0]), "{:?}", one.errors);
        assert_eq!((one.kept.len(), &one.kept, &one.errors), (kept.len(), &two.kept, &two.errors));
    }
}
