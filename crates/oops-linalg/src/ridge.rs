//! Least-squares repair of a cut linear map: one Cholesky factor, all outputs at once.
//!
//! min_V ½‖X_S V − Y‖² / T + ½ λ m ‖V − W_S‖², m = mean diag H_SS, so V = (H_SS + λ m I)⁻¹ (C_S W + λ m W_S), with
//! C = XᵀX_target / T, which is H when V shall reproduce the module's own output. Damping pulls towards W_S, never
//! towards 0. What is solved for is the correction V − W_S = (H_SS + λ m I)⁻¹ (C_S W − H_SS W_S): for C = H its right
//! side is H_SP W_P, so that nothing removed gives W back to the bit and a large λ the plain cut.
//!
//! Reference: Frantar & Alistarh, Optimal Brain Compression (arXiv 2208.11580), which is λ = 0 and C = H.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatMut, Par};
use oops_core::{Fault, Result, bail_if};
use rayon::prelude::*;

use crate::damped::{Damped, SolveStatus};
use crate::dense::Dense;
use crate::linear::Linear;

/// A repaired weight and how it was found.
#[derive(Clone, Debug)]
pub struct Ridge {
    /// V, |S| × outputs, row-major. The plain cut W_S when `status` is [`SolveStatus::NotPositiveDefinite`].
    pub weight: Vec<f32>,
    /// How the solve ended.
    pub status: SolveStatus,
    /// Estimated 1-norm condition number of H_SS + λ m I scaled to unit diagonal; `None` when nothing was factored.
    pub condition: Option<f64>,
    /// What was added to the diagonal of H_SS, in its units.
    pub damping: f64,
}

/// Repairs `linear` for the sorted list `kept` with relative damping `lambda` ≥ 0, target = its own output (C = H).
pub fn ridge(linear: &Linear<'_>, kept: &[usize], lambda: f64) -> Result<Ridge> {
    let h = linear.gram();
    h.check_channels(kept)?;
    let removed = h.others(kept);
    if removed.is_empty() || kept.is_empty() {
        return Ok(plain_cut(linear, kept, SolveStatus::Solved, 0.0));
    }
    solve(linear, kept, &removed, lambda, |i, j| h.get(i, j))
}

/// The same with the target X_target W of another stream: `cross` is C = XᵀX_target / T, n × n row-major, its rows the
/// channels of the stream that `linear` was measured on.
pub fn ridge_cross(linear: &Linear<'_>, cross: &[f32], kept: &[usize], lambda: f64) -> Result<Ridge> {
    let (h, n) = (linear.gram(), linear.channels());
    h.check_channels(kept)?;
    bail_if(cross.len() != n * n, || Fault::internal(format!("a cross Gram matrix of size {n} has {}", cross.len())))?;
    let is_kept = h.members(kept);
    let all: Vec<usize> = (0..n).collect();
    solve(linear, kept, &all, lambda, |i, j| f64::from(cross[i * n + j]) - if is_kept[j] { h.get(i, j) } else { 0.0 })
}

pub(crate) fn plain_cut(linear: &Linear<'_>, kept: &[usize], status: SolveStatus, damping: f64) -> Ridge {
    Ridge { weight: linear.rows(kept), status, condition: None, damping }
}

/// V = W_S + (H_SS + λ m I)⁻¹ M W_R with M = `entry` over `kept` × R, R = `sources`.
fn solve(
    linear: &Linear<'_>,
    kept: &[usize],
    sources: &[usize],
    lambda: f64,
    entry: impl Fn(usize, usize) -> f64 + Sync,
) -> Result<Ridge> {
    let damped = Damped::new(linear.gram(), kept, lambda)?;
    let Some(factor) = &damped.factor else { return Ok(plain_cut(linear, kept, damped.status, damped.damping)) };
    let coupling = Dense::gather(kept, sources, entry);
    bail_if(!coupling.is_finite(), || Fault::data("the Gram matrix has an entry that is not finite"))?;
    let mut weight = linear.rows(kept);
    correct(linear, sources, &coupling, &mut weight, |_, x| factor.solve(x));
    Ok(Ridge { weight, status: damped.status, condition: Some(factor.condition()), damping: damped.damping })
}

/// weight += solve(M W_R), a block of outputs at a time, blocks in parallel.
///
/// `solve` gets the first output of the block and its right sides M W_R (kept × width), which it overwrites with the
/// correction. What it returns comes back in the order of the blocks. The width depends on the number of outputs alone.
pub(crate) fn correct<R: Send>(
    linear: &Linear<'_>,
    sources: &[usize],
    coupling: &Dense,
    weight: &mut [f32],
    solve: impl Fn(usize, MatMut<'_, f64>) -> R + Sync,
) -> Vec<R> {
    let (kept, d) = (coupling.rows(), linear.outputs());
    let width = if d > 1024 { 128 } else { 64 };
    let v = MatMut::from_row_major_slice_mut(weight, kept, d);
    let block = |(block, mut v): (usize, MatMut<'_, f32>)| {
        let w = weight_block(linear, sources, block * width, v.ncols());
        let mut x = Mat::<f64>::zeros(kept, v.ncols());
        matmul(x.as_mut(), Accum::Replace, coupling.view(), w.as_ref(), 1.0, Par::Seq);
        let result = solve(block * width, x.as_mut());
        for j in 0..v.ncols() {
            // Summed in f64 and rounded once.
            (0..kept).for_each(|i| v[(i, j)] = (f64::from(v[(i, j)]) + x[(i, j)]) as f32);
        }
        result
    };
    v.par_col_chunks_mut(width).enumerate().map(block).collect()
}

/// The rows `sources` of W in f64, outputs from `start`.
pub(crate) fn weight_block(linear: &Linear<'_>, sources: &[usize], start: usize, width: usize) -> Mat<f64> {
    let mut w = Mat::<f64>::zeros(sources.len(), width);
    for (i, &r) in sources.iter().enumerate() {
        let row = &linear.row(r)[start..start + width];
        row.iter().enumerate().for_each(|(j, &x)| w[(i, j)] = f64::from(x));
    }
    w
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Symmetric;
    use crate::cholesky::Cholesky;
    use crate::testkit::{massive_spectrum, normal, with_threads};

    struct Case {
        n: usize,
        d: usize,
        packed: Vec<f32>,
        weight: Vec<f32>,
        kept: Vec<usize>,
    }

    impl Case {
        fn new(n: usize, d: usize) -> Self {
            let kept = (0..n).filter(|j| j % 3 != 1).collect();
            Self { n, d, packed: massive_spectrum(7, 3 * n, n), weight: normal(8, n * d), kept }
        }

        fn linear(&self) -> Linear<'_> {
            Linear::new(Symmetric::packed(self.n, &self.packed).unwrap(), &self.weight, self.d).unwrap()
        }
    }

    #[test]
    fn a_case_worked_by_hand() {
        // H = [2 1; 1 2], keep channel 0, W = (1, 4)ᵀ, λ = 1, m = 2: V = (2·1 + 1·4 + 2·1) / (2 + 2) = 2.
        let linear = Linear::new(Symmetric::packed(2, &[2.0, 1.0, 2.0]).unwrap(), &[1.0, 4.0], 1).unwrap();
        let r = ridge(&linear, &[0], 1.0).unwrap();
        assert_eq!((r.weight, r.status, r.condition, r.damping), (vec![2.0], SolveStatus::Solved, Some(1.0), 2.0));
    }

    #[test]
    fn everything_kept_gives_the_weight_back() {
        let case = Case::new(20, 5);
        let all: Vec<usize> = (0..20).collect();
        assert_eq!(ridge(&case.linear(), &all, 1e-3).unwrap().weight, case.weight);
        assert!(ridge(&case.linear(), &[], 1e-3).unwrap().weight.is_empty());
    }

    #[test]
    fn infinite_damping_is_the_plain_cut() {
        let case = Case::new(40, 7);
        let (cut, v) = (case.linear().rows(&case.kept), ridge(&case.linear(), &case.kept, 1e12).unwrap().weight);
        assert!(cut.iter().zip(&v).all(|(a, b)| (a - b).abs() < 1e-5));
    }

    #[test]
    fn the_gradient_vanishes_at_the_solution() {
        let (case, lambda) = (Case::new(90, 70), 1e-2);
        let (linear, s) = (case.linear(), &case.kept);
        let r = ridge(&linear, s, lambda).unwrap();
        let h = linear.gram();
        for column in [0, 69] {
            for (a, &i) in s.iter().enumerate() {
                let w = |j: usize| f64::from(case.weight[j * 70 + column]);
                let v = |b: usize| f64::from(r.weight[b * 70 + column]);
                let fit: f64 = s.iter().enumerate().map(|(b, &j)| h.get(i, j) * v(b)).sum();
                let target: f64 = (0..90).map(|j| h.get(i, j) * w(j)).sum();
                let gradient = fit - target + r.damping * (v(a) - w(i));
                // V is rounded to f32, so each term is good to 6e-8 of its own size.
                let size: f64 = (0..90).map(|j| (h.get(i, j) * w(j)).abs()).sum::<f64>() + r.damping * w(i).abs();
                assert!(gradient.abs() < 1e-5 * size, "{i}: {gradient} of {size}");
            }
        }
    }

    #[test]
    fn undamped_equals_the_obs_update() {
        // W_S − (H⁻¹)_SP ((H⁻¹)_PP)⁻¹ W_P, through the inverse of the whole matrix.
        let case = Case::new(60, 4);
        let linear = case.linear();
        let (h, all) = (linear.gram(), (0..60).collect::<Vec<_>>());
        let full = Damped::new(h, &all, 0.0).unwrap().factor.unwrap();
        let mut inverse = Mat::<f64>::identity(60, 60);
        full.solve(inverse.as_mut());
        let removed = h.others(&case.kept);
        let pp = Cholesky::new(Dense::gather(&removed, &removed, |i, j| inverse[(i, j)])).unwrap();
        let mut x = Mat::from_fn(removed.len(), 4, |i, j| f64::from(case.weight[removed[i] * 4 + j]));
        pp.solve(x.as_mut());
        let r = ridge(&linear, &case.kept, 0.0).unwrap();
        for (a, &i) in case.kept.iter().enumerate() {
            for j in 0..4 {
                let update: f64 = removed.iter().enumerate().map(|(b, &p)| inverse[(i, p)] * x[(b, j)]).sum();
                let expected = f64::from(case.weight[i * 4 + j]) - update;
                assert!((f64::from(r.weight[a * 4 + j]) - expected).abs() < 1e-5 * (1.0 + expected.abs()));
            }
        }
    }

    #[test]
    fn the_cross_form_with_its_own_gram_is_the_same_repair() {
        let case = Case::new(50, 6);
        let linear = case.linear();
        let cross: Vec<f32> = (0..2500).map(|k| linear.gram().get(k / 50, k % 50) as f32).collect();
        let own = ridge(&linear, &case.kept, 1e-3).unwrap().weight;
        let other = ridge_cross(&linear, &cross, &case.kept, 1e-3).unwrap().weight;
        assert!(own.iter().zip(&other).all(|(a, b)| (a - b).abs() < 1e-5 * (1.0 + a.abs())));
    }

    #[test]
    fn the_same_bits_for_one_and_two_threads() {
        let case = Case::new(450, 200);
        let bits = |threads| with_threads(threads, || ridge(&case.linear(), &case.kept, 1e-3).unwrap().weight);
        assert!(bits(1) == bits(2));
    }

    #[test]
    fn an_indefinite_matrix_keeps_the_plain_cut() {
        let h = [1.0, 1e6, 1.0, 0.0, 0.0, 1.0];
        let linear = Linear::new(Symmetric::packed(3, &h).unwrap(), &[1.0, 2.0, 3.0], 1).unwrap();
        let r = ridge(&linear, &[0, 1], 0.0).unwrap();
        assert_eq!((r.weight, r.status), (vec![1.0, 2.0], SolveStatus::NotPositiveDefinite));
    }
}
