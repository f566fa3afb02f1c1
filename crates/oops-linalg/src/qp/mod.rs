//! Convex quadratic programs in our own plain types, solved by Clarabel's interior-point method on one thread.
//!
//! min ½ xᵀP x + qᵀx  subject to  A x = b in the first `equalities` rows and A x ≤ b in the others. The duals y belong
//! to the rows of A: P x + q + Aᵀy = 0, y ≥ 0 on the inequalities. How the solve ended is a value, never an error.
//!
//! Reference: Goulart & Chen, Clarabel (arXiv 2405.12762).

mod budget;
mod carrier;
mod gains;
mod layout;
mod sparse;
mod transfer;

use std::time::Instant;

use clarabel::algebra::CscMatrix;
use clarabel::solver::{DefaultSettings, DefaultSolver, IPSolver, SolverStatus, SupportedConeT};
use oops_core::{Fault, Result, bail_if};

pub use budget::{Allocation, Budget, BudgetRow, budget_qp};
pub use gains::{Gains, unit_gains};
pub use sparse::Sparse;
pub use transfer::{Carrier, Transfer, TransferOptions, transfer};

/// A quadratic program; see the module for its form.
#[derive(Clone, Debug)]
pub struct Problem {
    /// P, n × n, upper triangle only, positive semidefinite.
    pub quadratic: Sparse,
    /// q, n entries.
    pub linear: Vec<f64>,
    /// A, m × n.
    pub rows: Sparse,
    /// b, m entries.
    pub limits: Vec<f64>,
    /// How many of the first rows are equalities.
    pub equalities: usize,
}

/// How a quadratic program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QpStatus {
    /// Optimal to the solver's tolerance (1e-8).
    Solved,
    /// Optimal to a reduced tolerance (gap 5e-5, feasibility 1e-4).
    AlmostSolved,
    /// No point satisfies the rows.
    Infeasible,
    /// The objective has no lower bound.
    Unbounded,
    /// Stopped without an answer: iteration limit, no progress, or a numerical error.
    Failed,
}

impl QpStatus {
    /// Whether the point found may be used.
    pub fn is_usable(self) -> bool {
        matches!(self, Self::Solved | Self::AlmostSolved)
    }
}

/// What the solver found.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How it ended; look here before using `x`.
    pub status: QpStatus,
    /// Interior-point iterations.
    pub iterations: u32,
    /// The minimiser, n entries.
    pub x: Vec<f64>,
    /// y, m entries.
    pub duals: Vec<f64>,
    /// ½ xᵀP x + qᵀx.
    pub objective: f64,
    /// Relative primal residual.
    pub primal_residual: f64,
    /// Relative dual residual.
    pub dual_residual: f64,
    /// Wall time, the one field that differs between runs.
    pub seconds: f64,
}

impl Problem {
    fn check(&self) -> Result<()> {
        let (n, m) = (self.linear.len(), self.limits.len());
        let sound = self.quadratic.is_sound() && self.rows.is_sound();
        let shapes = sound && self.quadratic.shape() == (n, n) && self.rows.shape() == (m, n) && self.equalities <= m;
        bail_if(!shapes, || {
            Fault::internal(format!("a quadratic program of {n} variables and {m} rows has other or unordered entries"))
        })?;
        let finite = |v: &[f64]| v.iter().all(|x| x.is_finite());
        let vectors = finite(&self.linear) && finite(&self.limits);
        bail_if(!(vectors && finite(self.quadratic.values()) && finite(self.rows.values())), || {
            Fault::data("a quadratic program has a coefficient that is not finite")
        })
    }

    /// Solves the program to 1e-8. Fails only on wrong shapes and on coefficients that are not finite.
    pub fn solve(&self) -> Result<Outcome> {
        self.solve_to(1e-8)
    }

    /// Solves the program to a relative gap and feasibility of `tolerance`.
    pub fn solve_to(&self, tolerance: f64) -> Result<Outcome> {
        self.check()?;
        let start = Instant::now();
        let (n, m) = (self.linear.len(), self.limits.len());
        let cones = [SupportedConeT::ZeroConeT(self.equalities), SupportedConeT::NonnegativeConeT(m - self.equalities)];
        let (p, a) = (csc(&self.quadratic), csc(&self.rows));
        let settings = DefaultSettings {
            verbose: false,
            max_threads: 1,
            tol_gap_abs: tolerance,
            tol_gap_rel: tolerance,
            tol_feas: tolerance,
            ..DefaultSettings::default()
        };
        let mut solver = DefaultSolver::new(&p, &self.linear, &a, &self.limits, &cones, settings)
            .map_err(|e| Fault::internal(format!("the solver refused a program of {n} variables: {e}")))?;
        solver.solve();
        let found = solver.solution;
        Ok(Outcome {
            status: status(found.status),
            iterations: found.iterations,
            x: found.x,
            duals: found.z,
            objective: found.obj_val,
            primal_residual: found.r_prim,
            dual_residual: found.r_dual,
            seconds: start.elapsed().as_secs_f64(),
        })
    }
}

fn csc(m: &Sparse) -> CscMatrix<f64> {
    let (rows, columns) = m.shape();
    CscMatrix::new(rows, columns, m.starts().to_vec(), m.indices().to_vec(), m.values().to_vec())
}

fn status(status: SolverStatus) -> QpStatus {
    match status {
        SolverStatus::Solved => QpStatus::Solved,
        SolverStatus::AlmostSolved => QpStatus::AlmostSolved,
        SolverStatus::PrimalInfeasible | SolverStatus::AlmostPrimalInfeasible => QpStatus::Infeasible,
        SolverStatus::DualInfeasible | SolverStatus::AlmostDualInfeasible => QpStatus::Unbounded,
        _ => QpStatus::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// min ½ x² + ½ y² − x − 3 y with x + y = 1 and y ≤ `cap`.
    fn problem(cap: f64) -> Problem {
        Problem {
            quadratic: Sparse::from_columns(2, [vec![(0, 1.0)], vec![(1, 1.0)]]),
            linear: vec![-1.0, -3.0],
            rows: Sparse::from_columns(2, [vec![(0, 1.0)], vec![(0, 1.0), (1, 1.0)]]),
            limits: vec![1.0, cap],
            equalities: 1,
        }
    }

    #[test]
    fn a_case_worked_by_hand() {
        // Without the cap x = −½, y = 3/2 and the equality's dual is 3/2; with y ≤ 1, x = 0, y = 1, duals 1 and 1.
        let free = problem(10.0).solve().unwrap();
        assert_eq!(free.status, QpStatus::Solved);
        let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(near(&free.x, &[-0.5, 1.5]) && near(&free.duals, &[1.5, 0.0]), "{free:?}");
        let capped = problem(1.0).solve().unwrap();
        assert!(near(&capped.x, &[0.0, 1.0]) && near(&capped.duals, &[1.0, 1.0]), "{capped:?}");
    }

    #[test]
    fn impossible_and_unbounded_programs_are_statuses() {
        let mut p = problem(1.0);
        p.rows = Sparse::from_columns(2, [vec![(0, 1.0), (1, 1.0)], vec![(0, 1.0), (1, 1.0)]]);
        p.limits = vec![1.0, 0.0];
        assert_eq!(p.solve().unwrap().status, QpStatus::Infeasible);
        let mut p = problem(1.0);
        p.linear = vec![-3.0, -1.0];
        p.quadratic = Sparse::from_columns(2, [vec![], vec![]]);
        assert_eq!(p.solve().unwrap().status, QpStatus::Unbounded);
    }

    #[test]
    fn bad_numbers_and_shapes_are_faults() {
        let mut p = problem(f64::NAN);
        assert!(p.solve().is_err());
        p.limits.pop();
        assert!(p.solve().is_err());
    }
}
