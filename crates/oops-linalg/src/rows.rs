//! Z ← Z (H + λ m I)⁻¹ for many rows at once: the Kronecker factor of a layer's inputs, as preconditioner.

use faer::MatMut;
use oops_core::{Fault, Result, bail_if};
use rayon::prelude::*;

use crate::cholesky::Cholesky;
use crate::damped::Damped;
use crate::symmetric::Symmetric;

/// Rows that one task solves: fixed, and few enough to share the work.
const ROWS: usize = 64;

/// A factored Gram matrix that rows are divided by.
pub struct RowSolver {
    factor: Cholesky,
    damping: f64,
}

impl RowSolver {
    /// Factors H + λ m I, m = mean diag H, with more damping where that is singular. Fails where none helps.
    pub fn new(h: &Symmetric<'_>, lambda: f64) -> Result<Self> {
        let all: Vec<usize> = (0..h.n()).collect();
        let Damped { factor, damping, .. } = Damped::new(h, &all, lambda)?;
        let factor = factor.ok_or_else(|| Fault::numerical("the Gram matrix is not positive definite"))?;
        Ok(Self { factor, damping })
    }

    /// λ m as it was added.
    pub fn damping(&self) -> f64 {
        self.damping
    }

    /// Every row z of `rows` (row-major, n values each) becomes z (H + λ m I)⁻¹, solved in f64.
    pub fn solve(&self, rows: &mut [f32]) -> Result<()> {
        let n = self.factor.n();
        bail_if(!rows.len().is_multiple_of(n.max(1)), || Fault::internal("rows of another length than the matrix"))?;
        rows.par_chunks_mut((ROWS * n).max(1)).for_each(|rows| {
            let mut columns: Vec<f64> = rows.iter().map(|&v| f64::from(v)).collect();
            let count = rows.len() / n;
            self.factor.solve(MatMut::from_column_major_slice_mut(&mut columns, n, count));
            rows.iter_mut().zip(columns).for_each(|(row, v)| *row = v as f32);
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{massive_spectrum, normal, with_threads};

    #[test]
    fn rows_times_the_matrix_are_the_rows_again() {
        let (n, packed) = (30, massive_spectrum(5, 90, 30));
        let h = Symmetric::packed(n, &packed).unwrap();
        let (solver, rows) = (RowSolver::new(&h, 1e-3).unwrap(), normal(3, 100 * n));
        let mut z = rows.clone();
        solver.solve(&mut z).unwrap();
        for (z, row) in z.chunks_exact(n).zip(rows.chunks_exact(n)) {
            for (j, expected) in row.iter().enumerate() {
                let along: f64 = (0..n).map(|i| f64::from(z[i]) * h.get(i, j)).sum();
                let found = along + solver.damping() * f64::from(z[j]);
                assert!((found - f64::from(*expected)).abs() < 1e-2, "{found} {expected}");
            }
        }
        assert!(solver.solve(&mut [1.0; 31]).is_err());
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let (n, packed) = (30, massive_spectrum(5, 90, 30));
        let run = |threads| {
            with_threads(threads, || {
                let mut rows = normal(3, 200 * n);
                RowSolver::new(&Symmetric::packed(n, &packed).unwrap(), 0.1).unwrap().solve(&mut rows).unwrap();
                rows
            })
        };
        assert!(run(1) == run(2));
    }
}
