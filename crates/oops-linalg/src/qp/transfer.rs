//! Each removed channel is carried by a few kept ones: a sparse quadratic program per removed channel.
//!
//! For a removed channel p and its m most correlated kept channels N: min over b ½ bᵀH_NN b − H_Npᵀb + ½ λ Σ H_ii b_i²
//! subject to μ_Nᵀb = μ_p (the mean is kept exactly, so no bias is needed), |b_i| √(H_ii / H_pp) ≤ β and
//! Σ |b_i| √(H_ii / H_pp) ≤ κ; then W_S += B W_P. Everything is measured in the channels' own amplitudes √H_ii, so a
//! massive channel neither swamps the damping nor escapes the bounds. |P| independent programs of m variables: the cost
//! does not depend on the model's width. With N = S, λ → 0 and no bounds it is least squares.
//!
//! A program whose equality-constrained optimum lies inside the bounds is done in closed form; the others go to Clarabel,
//! one thread each.

use oops_core::{Fault, Result, bail_if, finite::at_least_zero};
use rayon::prelude::*;

use super::QpStatus;
use super::carrier::{Found, Scaled};
use crate::dense::Dense;
use crate::linear::Linear;
use crate::symmetric::Symmetric;

/// What to ask of the carriers.
#[derive(Clone, Copy, Debug)]
pub struct TransferOptions<'a> {
    /// m: carriers per removed channel, at least 1.
    pub neighbours: usize,
    /// λ ≥ 0: damping relative to each carrier's own second moment.
    pub lambda: f64,
    /// μ, n means; `None` leaves the mean free.
    pub means: Option<&'a [f64]>,
    /// β: the most that one carrier may deliver, in amplitudes of the removed channel.
    pub bound: Option<f64>,
    /// κ: the most that all carriers may deliver together, in the same unit.
    pub total: Option<f64>,
}

/// Who carries a removed channel.
#[derive(Clone, Debug)]
pub struct Carrier {
    /// p.
    pub removed: usize,
    /// N, channels in ascending order.
    pub neighbours: Vec<usize>,
    /// b, so that x_p ≈ Σ b_i x_i. All 0 when `status` is not usable.
    pub coefficients: Vec<f64>,
    /// How the program ended.
    pub status: QpStatus,
    /// Interior-point iterations; 0 in closed form.
    pub iterations: u32,
    /// Whether the mean is kept; false when it was not asked for, cannot be kept within the bounds, or is carried by no
    /// neighbour.
    pub keeps_mean: bool,
}

/// A repaired weight and its carriers, one per removed channel in ascending order.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// W_S + B W_P, |S| × outputs, row-major.
    pub weight: Vec<f32>,
    /// B, by its columns.
    pub carriers: Vec<Carrier>,
}

/// Repairs `linear` for the sorted list `kept`.
pub fn transfer(linear: &Linear<'_>, kept: &[usize], options: &TransferOptions<'_>) -> Result<Transfer> {
    let h = linear.gram();
    h.check_channels(kept)?;
    options.check(h.n())?;
    let amplitudes: Vec<f64> = (0..h.n()).map(|j| at_least_zero(h.get(j, j)).sqrt()).collect();
    // A channel whose energy is no number is not one that is silent.
    bail_if(!amplitudes.iter().all(|a| a.is_finite()), || {
        Fault::data("the Gram matrix has an entry that is not finite")
    })?;
    let carry = |p: usize| Carried { h, kept, amplitudes: &amplitudes, options }.solve(p);
    let carriers = h.others(kept).into_par_iter().map(carry).collect::<Result<Vec<_>>>()?;
    Ok(Transfer { weight: apply(linear, kept, &carriers), carriers })
}

impl TransferOptions<'_> {
    fn check(&self, n: usize) -> Result<()> {
        let positive = |v: Option<f64>| v.is_none_or(|v| v.is_finite() && v > 0.0);
        let sound = self.neighbours > 0 && self.lambda.is_finite() && self.lambda >= 0.0;
        bail_if(!(sound && positive(self.bound) && positive(self.total)), || {
            Fault::config("these carriers are not allowed")
                .help("at least 1 neighbour, damping of 0 or more, bounds above 0")
        })?;
        bail_if(self.means.is_some_and(|m| m.len() != n || m.iter().any(|v| !v.is_finite())), || {
            Fault::data(format!("the means must be {n} finite numbers"))
        })
    }
}

/// W_S + B W_P, one kept row at a time, removed channels in ascending order, summed in f64.
fn apply(linear: &Linear<'_>, kept: &[usize], carriers: &[Carrier]) -> Vec<f32> {
    let d = linear.outputs();
    let mut place = vec![0; linear.channels()];
    kept.iter().enumerate().for_each(|(i, &j)| place[j] = i);
    let mut incoming = vec![Vec::new(); kept.len()];
    for c in carriers {
        c.neighbours.iter().zip(&c.coefficients).for_each(|(&j, &b)| incoming[place[j]].push((c.removed, b)));
    }
    let mut weight = linear.rows(kept);
    weight.par_chunks_mut(d.max(1)).zip(incoming).for_each(|(row, incoming)| {
        let mut sum: Vec<f64> = row.iter().map(|&w| f64::from(w)).collect();
        for (p, b) in incoming {
            sum.iter_mut().zip(linear.row(p)).for_each(|(s, &w)| *s += b * f64::from(w));
        }
        row.iter_mut().zip(sum).for_each(|(w, s)| *w = s as f32);
    });
    weight
}

/// The programs' common data.
struct Carried<'a> {
    h: &'a Symmetric<'a>,
    kept: &'a [usize],
    /// √H_jj.
    amplitudes: &'a [f64],
    options: &'a TransferOptions<'a>,
}

impl Carried<'_> {
    fn correlation(&self, i: usize, j: usize) -> f64 {
        self.h.get(i, j) / (self.amplitudes[i] * self.amplitudes[j])
    }

    fn solve(&self, p: usize) -> Result<Carrier> {
        let neighbours = if self.amplitudes[p] > 0.0 { self.neighbours(p) } else { Vec::new() };
        let scaled = self.scaled(p, &neighbours);
        let found = scaled.solve(self.options)?;
        let unit = |i: usize| self.amplitudes[p] / self.amplitudes[i];
        let coefficients = neighbours.iter().zip(&found.t).map(|(&i, t)| t * unit(i)).collect();
        let Found { status, iterations, keeps_mean, .. } = found;
        Ok(Carrier { removed: p, neighbours, coefficients, status, iterations, keeps_mean })
    }

    /// The kept channels most correlated with p, ascending; ties go to the lower channel.
    fn neighbours(&self, p: usize) -> Vec<usize> {
        let live = self.kept.iter().filter(|&&i| self.amplitudes[i] > 0.0);
        let mut ranked: Vec<(f64, usize)> = live.map(|&i| (self.correlation(i, p).abs(), i)).collect();
        let count = self.options.neighbours.min(ranked.len());
        if count < ranked.len() {
            ranked.select_nth_unstable_by(count, |a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        }
        let mut nearest: Vec<usize> = ranked[..count].iter().map(|r| r.1).collect();
        nearest.sort_unstable();
        nearest
    }

    fn scaled(&self, p: usize, neighbours: &[usize]) -> Scaled {
        let mut matrix = Dense::gather(neighbours, neighbours, |i, j| self.correlation(i, j));
        matrix.add_to_diagonal(self.options.lambda);
        let mean = self.options.means.and_then(|means| {
            let row: Vec<f64> = neighbours.iter().map(|&i| means[i] / self.amplitudes[i]).collect();
            // Neighbours without a mean cannot carry one.
            (row.iter().map(|a| a * a).sum::<f64>() > 1e-12).then(|| (row, means[p] / self.amplitudes[p]))
        });
        Scaled { matrix, pull: neighbours.iter().map(|&i| self.correlation(i, p)).collect(), mean }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ridge;
    use crate::testkit::{massive_spectrum, normal, with_threads};

    const FREE: TransferOptions<'static> =
        TransferOptions { neighbours: usize::MAX, lambda: 0.0, means: None, bound: None, total: None };

    struct Case {
        packed: Vec<f32>,
        weight: Vec<f32>,
        means: Vec<f64>,
        kept: Vec<usize>,
    }

    impl Case {
        fn new(n: usize) -> Self {
            let packed = massive_spectrum(71, 3 * n, n);
            let h = Symmetric::packed(n, &packed).unwrap();
            // Any means whose outer product H exceeds will do.
            let means =
                normal(72, n).iter().enumerate().map(|(j, x)| 0.1 * f64::from(*x) * h.get(j, j).sqrt()).collect();
            Self { means, kept: (0..n).filter(|j| j % 3 != 1).collect(), weight: normal(73, n * 6), packed }
        }

        fn linear(&self) -> Linear<'_> {
            let h = Symmetric::packed(self.means.len(), &self.packed).unwrap();
            Linear::new(h, &self.weight, 6).unwrap()
        }
    }

    #[test]
    fn all_neighbours_without_bounds_are_least_squares() {
        let case = Case::new(60);
        let expected = ridge(&case.linear(), &case.kept, 0.0).unwrap().weight;
        let found = transfer(&case.linear(), &case.kept, &FREE).unwrap().weight;
        let size = |v: f32| 1e-4 * (1.0 + v.abs());
        assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < size(*b)));
    }

    #[test]
    fn the_interior_point_agrees_with_the_closed_form() {
        let case = Case::new(48);
        let options = TransferOptions { neighbours: 12, lambda: 1e-2, means: Some(&case.means), ..FREE };
        // Bounds that no optimum reaches, so that both must find the same point.
        let wide = TransferOptions { bound: Some(50.0), total: Some(500.0), ..options };
        let linear = case.linear();
        let amplitudes: Vec<f64> = (0..48).map(|j| linear.gram().get(j, j).sqrt()).collect();
        for p in linear.gram().others(&case.kept) {
            let carried = Carried { h: linear.gram(), kept: &case.kept, amplitudes: &amplitudes, options: &options };
            let scaled = carried.scaled(p, &carried.neighbours(p));
            let (closed, point) = (scaled.closed_form().unwrap(), scaled.interior_point(&wide, true).unwrap());
            assert!(point.status.is_usable() && point.keeps_mean);
            assert!(closed.iter().zip(&point.t).all(|(a, b)| (a - b).abs() < 1e-5), "{closed:?} {:?}", point.t);
        }
    }

    #[test]
    fn bounds_hold_and_the_mean_is_kept() {
        let case = Case::new(90);
        let (bound, total) = (0.2, 0.5);
        let means = Some(case.means.as_slice());
        let options = TransferOptions { neighbours: 16, lambda: 1e-3, means, bound: Some(bound), total: Some(total) };
        let found = transfer(&case.linear(), &case.kept, &options).unwrap();
        let (linear, mut iterated) = (case.linear(), 0);
        for c in &found.carriers {
            assert!(c.status.is_usable(), "{c:?}");
            iterated += u32::from(c.iterations > 0);
            let amplitude = |j: usize| linear.gram().get(j, j).sqrt();
            let t = |k: usize| c.coefficients[k] * amplitude(c.neighbours[k]) / amplitude(c.removed);
            assert!((0..16).all(|k| t(k).abs() <= bound + 1e-6));
            assert!((0..16).map(|k| t(k).abs()).sum::<f64>() <= total + 1e-6);
            let carried: f64 = c.neighbours.iter().zip(&c.coefficients).map(|(&j, b)| b * case.means[j]).sum();
            let gap = (carried - case.means[c.removed]).abs() / amplitude(c.removed);
            assert!(!c.keeps_mean || gap < 1e-6, "{gap}");
        }
        assert!(iterated > 5 && found.carriers.iter().filter(|c| c.keeps_mean).count() > 5, "{iterated}");
    }

    #[test]
    fn silent_channels_and_threads_do_not_matter() {
        let mut case = Case::new(90);
        for k in 0..90 {
            let (i, j) = (k.max(4), k.min(4));
            case.packed[crate::packed_len(i) + j] = 0.0;
        }
        let means = Some(case.means.as_slice());
        let options = TransferOptions { neighbours: 8, lambda: 1e-2, means, bound: Some(0.3), total: None };
        let bits = |threads| with_threads(threads, || transfer(&case.linear(), &case.kept, &options).unwrap().weight);
        let one = bits(1);
        assert!(one == bits(2) && one.iter().all(|w| w.is_finite()));
        assert!(transfer(&case.linear(), &[], &options).unwrap().weight.is_empty());
    }
}
