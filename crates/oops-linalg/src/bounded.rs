//! Least-squares repair that may move no weight far: |V − W_S| ≤ k · rms of the output's column of W.
//!
//! With D = V − W_S and A = H_SS + λ m I, every output is a box quadratic program min ½ DᵀA D − GᵀD with the same A and
//! G = H_SP W_P. They are solved together by the alternating direction method of multipliers in f64: one factor of
//! A + ρ diag A serves all outputs and all steps; x = (A + ρ diag A)⁻¹ (G + ρ diag A (z − y)), z = clip(x + y),
//! y += x − z. Outputs whose unbounded solution is inside the box are that solution.
//!
//! Reference: Boyd et al., Distributed Optimization and Statistical Learning via ADMM (2011), §5.2.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatMut, Par};
use oops_core::{Fault, Result, bail_if, finite::larger};

use crate::cholesky::Cholesky;
use crate::damped::{Damped, SolveStatus};
use crate::dense::Dense;
use crate::linear::Linear;
use crate::qp::QpStatus;
use crate::ridge::{Ridge, correct, plain_cut};

/// Over-relaxation, which the literature puts between 1.5 and 1.8.
const RELAXATION: f64 = 1.6;

/// Residual, relative to the solution, at which an output counts as solved.
const TOLERANCE: f64 = 1e-8;

/// Steps after which the iteration stops.
const STEPS: usize = 3000;

/// A bounded repair.
#[derive(Clone, Debug)]
pub struct Bounded {
    /// V and how the unbounded system was solved.
    pub ridge: Ridge,
    /// The worst status over the outputs.
    pub status: QpStatus,
    /// Outputs whose unbounded solution left the box.
    pub active: usize,
    /// The most steps that any block of outputs took.
    pub steps: usize,
    /// The largest relative residual that was left.
    pub residual: f64,
}

/// Repairs `linear` for the sorted list `kept` as [`crate::ridge`] does, with every entry of V within `width` times the
/// root mean square of its column of W from W_S.
pub fn ridge_bounded(linear: &Linear<'_>, kept: &[usize], lambda: f64, width: f64) -> Result<Bounded> {
    bail_if(!(width.is_finite() && width >= 0.0), || {
        Fault::config(format!("a box of {width} times the weight is not allowed")).help("a finite number, 0 or more")
    })?;
    let damped = Damped::new(linear.gram(), kept, lambda)?;
    let (status, damping) = (damped.status, damped.damping);
    let trivial = |status| Bounded::unsolved(plain_cut(linear, kept, status, damping));
    let removed = linear.gram().others(kept);
    if removed.is_empty() || kept.is_empty() {
        return Ok(trivial(SolveStatus::Solved));
    }
    let entry = |i, j| linear.gram().get(i, j);
    let matrix = || {
        let mut a = Dense::gather(kept, kept, entry);
        a.add_to_diagonal(damping);
        a
    };
    let Some(solver) = damped.factor.and_then(|free| BoxSolver::new(free, matrix())) else {
        return Ok(trivial(SolveStatus::NotPositiveDefinite));
    };
    let bounds = column_bounds(linear, width);
    let mut weight = linear.rows(kept);
    let coupling = Dense::gather(kept, &removed, entry);
    let reports = correct(linear, &removed, &coupling, &mut weight, |start, mut x| {
        let bounds = &bounds[start..start + x.ncols()];
        solver.solve(x.as_mut(), bounds)
    });
    let ridge = Ridge { weight, status, condition: Some(solver.free.condition()), damping };
    Ok(reports.into_iter().fold(Bounded::unsolved(ridge), Bounded::with))
}

/// `width` times the root mean square of each column of W.
fn column_bounds(linear: &Linear<'_>, width: f64) -> Vec<f64> {
    let mut squares = vec![0.0; linear.outputs()];
    for j in 0..linear.channels() {
        squares.iter_mut().zip(linear.row(j)).for_each(|(s, &w)| *s += f64::from(w).powi(2));
    }
    squares.iter().map(|s| width * (s / linear.channels() as f64).sqrt()).collect()
}

impl Bounded {
    fn unsolved(ridge: Ridge) -> Self {
        Self { ridge, status: QpStatus::Solved, active: 0, steps: 0, residual: 0.0 }
    }

    fn with(self, block: BoxReport) -> Self {
        let worst = |a, b| if a == QpStatus::Solved || b == QpStatus::Failed { b } else { a };
        Self {
            status: worst(self.status, block.status),
            active: self.active + block.active,
            steps: self.steps.max(block.steps),
            residual: larger(self.residual, block.residual),
            ..self
        }
    }
}

/// How one block of box programs ended.
pub(crate) struct BoxReport {
    pub(crate) status: QpStatus,
    pub(crate) active: usize,
    pub(crate) steps: usize,
    pub(crate) residual: f64,
}

/// Box programs with one matrix A.
pub(crate) struct BoxSolver {
    /// Factor of A.
    free: Cholesky,
    /// (A + ρ diag A)⁻¹: a product with it is several times as fast as two triangular solves.
    split: Mat<f64>,
    rho: f64,
    /// √diag A: residuals are measured in units in which A has a unit diagonal.
    size: Vec<f64>,
}

impl BoxSolver {
    /// From the factor of A and A itself.
    pub(crate) fn new(free: Cholesky, mut a: Dense) -> Option<Self> {
        let rho = free.middle_eigenvalue();
        let size: Vec<f64> = (0..a.rows()).map(|i| a.get(i, i).sqrt()).collect();
        a.scale_diagonal(1.0 + rho);
        Some(Self { free, split: Cholesky::new(a)?.inverse(), rho, size })
    }

    /// Overwrites each column g of `x` with the minimiser of ½ dᵀA d − gᵀd over |d| ≤ its bound.
    pub(crate) fn solve(&self, mut x: MatMut<'_, f64>, bounds: &[f64]) -> BoxReport {
        let rhs = x.to_owned();
        self.free.solve(x.as_mut());
        let outside = |j: &usize| (0..x.nrows()).any(|i| x[(i, *j)].abs() > bounds[*j]);
        let active: Vec<usize> = (0..x.ncols()).filter(outside).collect();
        if active.is_empty() {
            return BoxReport { status: QpStatus::Solved, active: 0, steps: 0, residual: 0.0 };
        }
        let rhs = Mat::from_fn(x.nrows(), active.len(), |i, j| rhs[(i, active[j])]);
        let caps: Vec<f64> = active.iter().map(|&j| bounds[j]).collect();
        let start = Mat::from_fn(x.nrows(), active.len(), |i, j| x[(i, active[j])].clamp(-caps[j], caps[j]));
        let (z, steps, residual) = self.iterate(&rhs, &caps, start);
        for (j, &column) in active.iter().enumerate() {
            (0..x.nrows()).for_each(|i| x[(i, column)] = z[(i, j)]);
        }
        let status = match residual {
            r if r <= TOLERANCE => QpStatus::Solved,
            r if r <= 1e4 * TOLERANCE => QpStatus::AlmostSolved,
            _ => QpStatus::Failed,
        };
        BoxReport { status, active: active.len(), steps, residual }
    }

    /// The iteration from z = `z`; returns z, the steps taken and the relative residual left.
    fn iterate(&self, rhs: &Mat<f64>, caps: &[f64], mut z: Mat<f64>) -> (Mat<f64>, usize, f64) {
        let (m, columns) = rhs.shape();
        let mut y = Mat::<f64>::zeros(m, columns);
        let (mut x, mut pull) = (Mat::<f64>::zeros(m, columns), Mat::<f64>::zeros(m, columns));
        let mut residual = f64::INFINITY;
        for step in 1..=STEPS {
            for j in 0..columns {
                for i in 0..m {
                    pull[(i, j)] = rhs[(i, j)] + self.rho * self.size[i].powi(2) * (z[(i, j)] - y[(i, j)]);
                }
            }
            matmul(x.as_mut(), Accum::Replace, self.split.as_ref(), pull.as_ref(), 1.0, Par::Seq);
            residual = self.advance(&x, caps, &mut z, &mut y);
            if residual <= TOLERANCE {
                return (z, step, residual);
            }
        }
        (z, STEPS, residual)
    }

    /// One clipping step; returns the larger of the primal and dual residual, relative to the size of the solution.
    fn advance(&self, x: &Mat<f64>, caps: &[f64], z: &mut Mat<f64>, y: &mut Mat<f64>) -> f64 {
        let (mut gap, mut step, mut scale) = (0.0f64, 0.0f64, f64::MIN_POSITIVE);
        for (j, &cap) in caps.iter().enumerate() {
            for (i, &size) in self.size.iter().enumerate() {
                let old = z[(i, j)];
                let relaxed = RELAXATION * x[(i, j)] + (1.0 - RELAXATION) * old;
                let new = (relaxed + y[(i, j)]).clamp(-cap, cap);
                y[(i, j)] += relaxed - new;
                z[(i, j)] = new;
                gap = larger(gap, size * (x[(i, j)] - new).abs());
                step = larger(step, size * (new - old).abs());
                scale = larger(scale, size * new.abs());
            }
        }
        larger(gap, step) / scale
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Symmetric;
    use crate::qp::{Problem, Sparse};
    use crate::ridge;
    use crate::testkit::{massive_spectrum, normal, with_threads};

    /// The largest distance to Clarabel's solution of each column, in units of the box.
    fn distance_to_interior_point(linear: &Linear<'_>, kept: &[usize], lambda: f64, width: f64) -> f64 {
        let (h, m) = (linear.gram(), kept.len());
        let found = ridge_bounded(linear, kept, lambda, width).unwrap();
        assert!(found.status == QpStatus::Solved && found.active > 0, "{:?} {:?}", found.status, found.residual);
        let (bounds, removed) = (column_bounds(linear, width), h.others(kept));
        let entry = |i: usize, j: usize| h.get(kept[i], kept[j]) + if i == j { found.ridge.damping } else { 0.0 };
        let mut worst = 0.0f64;
        for (o, &bound) in bounds.iter().enumerate() {
            let pull = |i: usize| removed.iter().map(|&p| h.get(i, p) * f64::from(linear.row(p)[o])).sum::<f64>();
            // Amplitudes as unknowns: Clarabel's own scaling stops at 1e4, short of a massive channel.
            let size = |i: usize| entry(i, i).sqrt();
            let problem = Problem {
                quadratic: Sparse::upper(m, |i, j| entry(i, j) / (size(i) * size(j))),
                linear: (0..m).map(|i| -pull(kept[i]) / size(i)).collect(),
                rows: Sparse::from_columns(2 * m, (0..m).map(|i| [(i, 1.0), (m + i, -1.0)])),
                limits: (0..2 * m).map(|i| bound * size(i % m)).collect(),
                equalities: 0,
            };
            let oracle = problem.solve_to(1e-12).unwrap();
            assert!(oracle.status.is_usable());
            for (i, x) in oracle.x.iter().enumerate() {
                let moved = f64::from(found.ridge.weight[i * linear.outputs() + o]) - f64::from(linear.row(kept[i])[o]);
                worst = worst.max((moved - x / size(i)).abs() / bound);
            }
        }
        worst
    }

    #[test]
    fn agrees_with_the_interior_point_on_every_column() {
        for (n, lambda, width) in [(80, 1e-3, 0.05), (120, 1e-2, 0.3), (256, 1e-3, 0.1), (1024, 1e-3, 0.1)] {
            let (packed, w) = (massive_spectrum(51, 3 * n, n), normal(52, n * 3));
            let linear = Linear::new(Symmetric::packed(n, &packed).unwrap(), &w, 3).unwrap();
            let kept: Vec<usize> = (0..n).filter(|j| j % 3 != 1).collect();
            let worst = distance_to_interior_point(&linear, &kept, lambda, width);
            assert!(worst < 1e-5, "n = {n}: {worst}");
        }
    }

    #[test]
    fn a_wide_box_is_ridge_and_an_empty_one_the_cut() {
        let (n, d) = (60, 70);
        let (packed, w) = (massive_spectrum(53, 3 * n, n), normal(54, n * d));
        let linear = Linear::new(Symmetric::packed(n, &packed).unwrap(), &w, d).unwrap();
        let kept: Vec<usize> = (0..40).collect();
        let wide = ridge_bounded(&linear, &kept, 1e-3, 1e6).unwrap();
        assert_eq!((wide.ridge.weight, wide.active), (ridge(&linear, &kept, 1e-3).unwrap().weight, 0));
        let none = ridge_bounded(&linear, &kept, 1e-3, 0.0).unwrap();
        assert_eq!(none.ridge.weight, linear.rows(&kept));
    }

    #[test]
    fn the_same_bits_for_one_and_two_threads() {
        let (n, d) = (150, 130);
        let (packed, w) = (massive_spectrum(55, 3 * n, n), normal(56, n * d));
        let linear = Linear::new(Symmetric::packed(n, &packed).unwrap(), &w, d).unwrap();
        let kept: Vec<usize> = (0..n).filter(|j| j % 4 != 1).collect();
        let bits = |threads| with_threads(threads, || ridge_bounded(&linear, &kept, 1e-2, 0.2).unwrap().ridge.weight);
        assert!(bits(1) == bits(2));
    }
}
