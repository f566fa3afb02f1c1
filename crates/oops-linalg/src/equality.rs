//! Least-squares repair that leaves the output for chosen inputs exactly as it was.
//!
//! For a few inputs k (the mean activation, massive tokens) demand k_S V = k W. With D = V − W_S, A = H_SS + λ m I and K
//! the |S| × c matrix of the k_S: min ½ DᵀA D − GᵀD subject to KᵀD = k_P W_P, whose solution is closed:
//! D = D0 + A⁻¹K (KᵀA⁻¹K)⁻¹ (k_P W_P − KᵀD0), D0 = A⁻¹G. Keeping the mean makes a bias needless.
//!
//! Reference: Boyd & Vandenberghe, Convex Optimization, §10.1.1 (the KKT system).

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatMut, Par};
use oops_core::{Fault, Result, bail_if};

use crate::cholesky::Cholesky;
use crate::damped::{Damped, SolveStatus};
use crate::dense::Dense;
use crate::linear::Linear;
use crate::ridge::{Ridge, correct, plain_cut, weight_block};
use crate::symmetric::Symmetric;

/// Inputs that can be demanded at once; each costs a solve.
const MOST: usize = 64;

/// Repairs `linear` for the sorted list `kept` as [`crate::ridge`] does, with the outputs of `inputs` kept exactly.
///
/// `inputs` are rows of n channels. The status is that of the worse of the two systems: inputs that say the same on the
/// kept channels are met in the least-squares sense.
pub fn ridge_equality(linear: &Linear<'_>, kept: &[usize], lambda: f64, inputs: &[Vec<f64>]) -> Result<Ridge> {
    let (h, n) = (linear.gram(), linear.channels());
    let sound = inputs.iter().all(|k| k.len() == n && k.iter().all(|v| v.is_finite()));
    bail_if(!sound || inputs.len() > MOST, || {
        Fault::internal(format!(
            "{} inputs to keep: at most {MOST} rows of {n} finite numbers are allowed",
            inputs.len()
        ))
    })?;
    let damped = Damped::new(h, kept, lambda)?;
    let removed = h.others(kept);
    if removed.is_empty() || kept.is_empty() {
        return Ok(plain_cut(linear, kept, SolveStatus::Solved, 0.0));
    }
    let Some(factor) = &damped.factor else { return Ok(plain_cut(linear, kept, damped.status, damped.damping)) };
    let constraints = Constraints::new(factor, kept, &removed, inputs)?;
    let coupling = Dense::gather(kept, &removed, |i, j| h.get(i, j));
    let mut weight = linear.rows(kept);
    correct(linear, &removed, &coupling, &mut weight, |start, mut x| {
        let target = weight_block(linear, &removed, start, x.ncols());
        factor.solve(x.as_mut());
        constraints.impose(x, &target);
    });
    let status = if damped.status == SolveStatus::Solved { constraints.status } else { damped.status };
    Ok(Ridge { weight, status, condition: Some(factor.condition()), damping: damped.damping })
}

/// KᵀD = target, ready to be imposed on any block of columns.
struct Constraints {
    /// K, |S| × c, each column scaled to KᵀA⁻¹K with unit diagonal.
    kept: Mat<f64>,
    /// k_P with the same scale, c × |P|.
    removed: Mat<f64>,
    /// A⁻¹K.
    directions: Mat<f64>,
    /// Factor of KᵀA⁻¹K; none when there is nothing to impose.
    schur: Option<Cholesky>,
    status: SolveStatus,
}

impl Constraints {
    fn new(factor: &Cholesky, kept: &[usize], removed: &[usize], inputs: &[Vec<f64>]) -> Result<Self> {
        let c = inputs.len();
        let mut k = Mat::from_fn(kept.len(), c, |i, j| inputs[j][kept[i]]);
        let mut directions = k.clone();
        factor.solve(directions.as_mut());
        let energy = |j: usize| (0..kept.len()).map(|i| k[(i, j)] * directions[(i, j)]).sum::<f64>();
        // An input that is zero on every kept channel demands what cannot be had: scale 0 switches it off.
        let unit = |e: f64| if e > 0.0 { 1.0 / e.sqrt() } else { 0.0 };
        let scale: Vec<f64> = (0..c).map(|j| unit(energy(j))).collect();
        for j in 0..c {
            (0..kept.len())
                .for_each(|i| (k[(i, j)], directions[(i, j)]) = (k[(i, j)] * scale[j], directions[(i, j)] * scale[j]));
        }
        let mut schur = vec![0.0; c * c];
        let product = MatMut::from_row_major_slice_mut(&mut schur, c, c);
        matmul(product, Accum::Replace, k.transpose(), directions.as_ref(), 1.0, Par::Seq);
        let all: Vec<usize> = (0..c).collect();
        let damped = Damped::new(&Symmetric::double(c, &schur)?, &all, 0.0)?;
        let removed = Mat::from_fn(c, removed.len(), |j, i| inputs[j][removed[i]] * scale[j]);
        Ok(Self { kept: k, removed, directions, schur: damped.factor, status: damped.status })
    }

    /// x ← x + A⁻¹K (KᵀA⁻¹K)⁻¹ (k_P W_P − Kᵀx), `target` = W_P.
    fn impose(&self, x: MatMut<'_, f64>, target: &Mat<f64>) {
        let Some(schur) = &self.schur else { return };
        let mut gap = Mat::<f64>::zeros(self.kept.ncols(), x.ncols());
        matmul(gap.as_mut(), Accum::Replace, self.removed.as_ref(), target.as_ref(), 1.0, Par::Seq);
        matmul(gap.as_mut(), Accum::Add, self.kept.transpose(), x.as_ref(), -1.0, Par::Seq);
        schur.solve(gap.as_mut());
        matmul(x, Accum::Add, self.directions.as_ref(), gap.as_ref(), 1.0, Par::Seq);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::error_energy;
    use crate::ridge;
    use crate::testkit::{massive_spectrum, normal};

    #[test]
    fn a_case_worked_by_hand() {
        // H = I, keep channels 0 and 1 of 3, demand the output for the input (1, 1, 2): D0 = 0, k_P W_P = 2·3 = 6 is
        // shared equally, so V = (1 + 3, 2 + 3).
        let packed = [1.0, 0.0, 1.0, 0.0, 0.0, 1.0];
        let linear = Linear::new(Symmetric::packed(3, &packed).unwrap(), &[1.0, 2.0, 3.0], 1).unwrap();
        let r = ridge_equality(&linear, &[0, 1], 0.0, &[vec![1.0, 1.0, 2.0]]).unwrap();
        assert!((r.weight[0] - 4.0).abs() < 1e-6 && (r.weight[1] - 5.0).abs() < 1e-6, "{r:?}");
    }

    #[test]
    fn the_demanded_outputs_are_kept_at_the_least_cost() {
        let (n, d) = (120, 9);
        let (packed, w) = (massive_spectrum(41, 3 * n, n), normal(42, n * d));
        let linear = Linear::new(Symmetric::packed(n, &packed).unwrap(), &w, d).unwrap();
        let kept: Vec<usize> = (0..n).filter(|j| j % 3 != 0).collect();
        let inputs: Vec<Vec<f64>> = (0..3).map(|s| normal(43 + s, n).into_iter().map(f64::from).collect()).collect();
        let free = ridge(&linear, &kept, 1e-3).unwrap();
        let same = ridge_equality(&linear, &kept, 1e-3, &[]).unwrap();
        assert_eq!(free.weight, same.weight);
        let r = ridge_equality(&linear, &kept, 1e-3, &inputs).unwrap();
        assert_eq!(r.status, SolveStatus::Solved);
        for k in &inputs {
            for o in 0..d {
                let dense: f64 = (0..n).map(|j| k[j] * f64::from(w[j * d + o])).sum();
                let cut: f64 = kept.iter().enumerate().map(|(i, &j)| k[j] * f64::from(r.weight[i * d + o])).sum();
                assert!((dense - cut).abs() < 1e-4 * (1.0 + dense.abs()), "{dense} {cut}");
            }
        }
        let error = |v: &[f32]| error_energy(&linear, &kept, v, None).unwrap();
        assert!(error(&free.weight) < error(&r.weight));
    }

    #[test]
    fn inputs_that_repeat_or_vanish_do_no_harm() {
        let (n, d) = (30, 4);
        let (packed, w) = (massive_spectrum(44, 3 * n, n), normal(45, n * d));
        let linear = Linear::new(Symmetric::packed(n, &packed).unwrap(), &w, d).unwrap();
        let kept: Vec<usize> = (0..20).collect();
        let k: Vec<f64> = normal(46, n).into_iter().map(f64::from).collect();
        let zero: Vec<f64> = (0..n).map(|j| f64::from(u8::from(j >= 20))).collect();
        let once = ridge_equality(&linear, &kept, 1e-3, std::slice::from_ref(&k)).unwrap();
        let again = ridge_equality(&linear, &kept, 1e-3, &[k.clone(), zero, k]).unwrap();
        assert!(matches!(again.status, SolveStatus::Regularized { .. }));
        assert!(once.weight.iter().zip(&again.weight).all(|(a, b)| (a - b).abs() < 1e-3));
    }
}
