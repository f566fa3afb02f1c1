//! Cholesky factors A = L Lᵀ in f64, the same bits for every number of threads, with a condition estimate.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::factor::{LltRegularization, cholesky_in_place, cholesky_in_place_scratch};
use faer::linalg::triangular_solve::{solve_lower_triangular_in_place, solve_upper_triangular_in_place};
use faer::prelude::{Reborrow, ReborrowMut};
use faer::{Auto, Mat, MatMut, MatRef, Par, Spec};
use oops_core::finite::larger;

use rayon::prelude::*;

use crate::dense::Dense;
use crate::product::{add_symmetric, middle};

/// Sides up to this are factored by one sequential call.
const LEAF: usize = 256;

/// A lower triangular factor of a symmetric positive definite matrix.
pub(crate) struct Cholesky {
    /// n × n; L below and on the diagonal, leftovers of A above.
    factor: Dense,
    /// Estimates of ‖R‖₁ and ‖R⁻¹‖₁ for R = A scaled to unit diagonal.
    norms: [f64; 2],
}

impl Cholesky {
    /// Factors the symmetric `a` (both triangles filled). `None` when a pivot is not positive and finite.
    pub(crate) fn new(mut a: Dense) -> Option<Self> {
        let scale: Vec<f64> = (0..a.rows()).map(|j| a.get(j, j).sqrt()).collect();
        let norm = scaled_norm(&a, &scale);
        factor(a.view_mut()).then(|| {
            let mut cholesky = Self { factor: a, norms: [norm, f64::INFINITY] };
            cholesky.norms[1] = cholesky.inverse_norm(&scale);
            cholesky
        })
    }

    /// The size n.
    pub(crate) fn n(&self) -> usize {
        self.factor.rows()
    }

    /// L; only its lower triangle means anything.
    pub(crate) fn lower(&self) -> MatRef<'_, f64> {
        self.factor.view()
    }

    /// Estimate (from below, usually within a factor 3) of the 1-norm condition number of D^-½ A D^-½, D = diag A.
    ///
    /// The scaled number is the one that bounds the error of a Cholesky solve: one channel a million times as strong
    /// as the others does no harm to it.
    pub(crate) fn condition(&self) -> f64 {
        self.norms[0] * self.norms[1]
    }

    /// √(λ_min λ_max) of A scaled to unit diagonal, estimated from the two 1-norms.
    pub(crate) fn middle_eigenvalue(&self) -> f64 {
        (self.norms[0] / self.norms[1]).sqrt()
    }

    /// rhs ← A⁻¹ rhs on the calling thread.
    pub(crate) fn solve(&self, mut rhs: MatMut<'_, f64>) {
        solve_lower_triangular_in_place(self.lower(), rhs.rb_mut(), Par::Seq);
        solve_upper_triangular_in_place(self.lower().transpose(), rhs, Par::Seq);
    }

    /// A⁻¹, columns in parallel.
    pub(crate) fn inverse(&self) -> Mat<f64> {
        let mut inverse = Mat::<f64>::identity(self.n(), self.n());
        inverse.as_mut().par_col_chunks_mut(64).for_each(|columns| self.solve(columns));
        inverse
    }

    /// Higham's estimate of ‖D^½ A⁻¹ D^½‖₁ from a few solves (SIAM Review 29, 575, 1987, algorithm 4.1).
    fn inverse_norm(&self, scale: &[f64]) -> f64 {
        let n = self.n();
        let apply = |x: &[f64]| {
            let mut y: Vec<f64> = x.iter().zip(scale).map(|(x, s)| x * s).collect();
            self.solve(MatMut::from_column_major_slice_mut(&mut y, n, 1));
            y.iter_mut().zip(scale).for_each(|(y, s)| *y *= s);
            y
        };
        let norm = |y: &[f64]| y.iter().map(|v| v.abs()).sum::<f64>();
        let alternating = |i: usize| if i.is_multiple_of(2) { 1.0 } else { -1.0 } * (1.0 + i as f64 / n as f64);
        let mut best = norm(&apply(&(0..n).map(alternating).collect::<Vec<_>>())) * 2.0 / (3.0 * n as f64);
        let mut x = vec![1.0 / n as f64; n];
        for _ in 0..4 {
            let y = apply(&x);
            best = larger(best, norm(&y));
            let gradient = apply(&y.iter().map(|v| v.signum()).collect::<Vec<_>>());
            let along: f64 = gradient.iter().zip(&x).map(|(g, x)| g * x).sum();
            let Some(j) = (0..n).max_by(|&i, &j| gradient[i].abs().total_cmp(&gradient[j].abs())) else { break };
            if gradient[j].abs() <= along {
                break;
            }
            x.fill(0.0);
            x[j] = 1.0;
        }
        best
    }
}

/// ‖D^-½ A D^-½‖₁ with `scale` = the square roots of D.
fn scaled_norm(a: &Dense, scale: &[f64]) -> f64 {
    let column = |j: usize| a.column(j).iter().zip(scale).map(|(v, s)| v.abs() / s).sum::<f64>() / scale[j];
    (0..a.columns()).map(column).fold(0.0, larger)
}

/// Recursive factorisation: first half, panel, Schur complement, second half. False when a pivot is bad.
fn factor(a: MatMut<'_, f64>) -> bool {
    let n = a.nrows();
    if n <= LEAF {
        let params = Spec::new(Auto::<f64>::auto());
        let mut buffer = MemBuffer::new(cholesky_in_place_scratch::<f64>(n, Par::Seq, params));
        let stack = MemStack::new(&mut buffer);
        return cholesky_in_place(a, LltRegularization::default(), Par::Seq, stack, params).is_ok();
    }
    let (mut first, _, mut panel, mut second) = a.split_at_mut(middle(n), middle(n));
    if !factor(first.rb_mut()) {
        return false;
    }
    divide_rows(panel.rb_mut(), first.rb());
    add_symmetric(second.rb_mut(), panel.rb(), -1.0);
    factor(second)
}

/// panel ← panel L⁻ᵀ, rows in parallel.
fn divide_rows(panel: MatMut<'_, f64>, lower: MatRef<'_, f64>) {
    let rows = panel.nrows();
    if rows <= LEAF {
        solve_lower_triangular_in_place(lower, panel.transpose_mut(), Par::Seq);
        return;
    }
    let (top, bottom) = panel.split_at_row_mut(middle(rows));
    rayon::join(|| divide_rows(top, lower), || divide_rows(bottom, lower));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Symmetric;
    use crate::testkit::{massive_spectrum, with_threads};

    fn dense(h: &Symmetric<'_>, damping: f64) -> Dense {
        let all: Vec<usize> = (0..h.n()).collect();
        let mut a = Dense::gather(&all, &all, |i, j| h.get(i, j));
        a.add_to_diagonal(damping);
        a
    }

    #[test]
    fn solves_a_massive_spectrum_with_a_small_residual() {
        let n = 600;
        let packed = massive_spectrum(5, 2 * n, n);
        let h = Symmetric::packed(n, &packed).unwrap();
        let cholesky = Cholesky::new(dense(&h, 1e-3)).unwrap();
        let mut x: Vec<f64> = (0..n).map(|i| (i as f64).sin()).collect();
        let b = x.clone();
        cholesky.solve(MatMut::from_column_major_slice_mut(&mut x, n, 1));
        let a = dense(&h, 1e-3);
        let size = x.iter().map(|v| v.abs()).fold(0.0, f64::max);
        for (i, b) in b.iter().enumerate() {
            let residual = (0..n).map(|j| a.get(i, j) * x[j]).sum::<f64>() - b;
            assert!(residual.abs() < 1e-12 * n as f64 * a.get(i, i).max(1.0).sqrt() * size.max(1.0), "{i} {residual}");
        }
        assert!(cholesky.condition() < 1e4, "the massive channel must not count: {}", cholesky.condition());
    }

    #[test]
    fn the_condition_of_a_known_matrix() {
        // [[1, c], [c, 1]]: inverse [[1, −c], [−c, 1]] / (1 − c²), so κ₁ = (1 + c)² / (1 − c²) = (1 + c) / (1 − c).
        let c = 0.99;
        let a = Dense::gather(&[0, 1], &[0, 1], |i, j| if i == j { 1.0 } else { c });
        let condition = Cholesky::new(a).unwrap().condition();
        assert!((condition / (1.99 / 0.01) - 1.0).abs() < 1e-9, "{condition}");
    }

    #[test]
    fn refuses_indefinite_and_undefined_matrices() {
        assert!(Cholesky::new(Dense::gather(&[0, 1], &[0, 1], |i, j| if i == j { 1.0 } else { 2.0 })).is_none());
        assert!(Cholesky::new(Dense::gather(&[0], &[0], |_, _| f64::NAN)).is_none());
    }

    #[test]
    fn the_same_bits_for_one_and_two_threads() {
        let n = 700;
        let packed = massive_spectrum(6, 2 * n, n);
        let h = Symmetric::packed(n, &packed).unwrap();
        let bits = |threads| {
            with_threads(threads, || {
                let c = Cholesky::new(dense(&h, 0.1)).unwrap();
                (0..n).flat_map(|j| (j..n).map(move |i| (i, j))).map(|(i, j)| c.lower()[(i, j)]).collect::<Vec<_>>()
            })
        };
        assert!(bits(1) == bits(2));
    }
}
