//! One gain per kept unit that makes up for what was removed; it folds into the weights.
//!
//! min over g: ½ tr((diag(g) W_S − …)ᵀ …) in outputs, which in e = g − 1 reads ½ eᵀ(A + λ m I)e − rᵀe with
//! A_uv = Σ_{i∈u, j∈v} H_ij w_iᵀw_j and r_u = Σ_{i∈u, p∈P} H_ip w_iᵀw_p, bounds 0 ≤ g ≤ 2 and a pull to 1. A is the
//! Schur product of two Gram matrices, so the program is convex.

use faer::{Mat, MatRef};
use oops_core::{Fault, Result, bail_if};

use super::{Problem, QpStatus, Sparse};
use crate::bounded::BoxSolver;
use crate::damped::Damped;
use crate::dense::Dense;
use crate::linear::Linear;
use crate::product::add_product;
use crate::ridge::weight_block;
use crate::symmetric::Symmetric;

/// Largest program for the interior-point solver, whose cost grows with the cube; larger ones are iterated.
const INTERIOR_POINT: usize = 1024;

/// The gains and how they were found.
#[derive(Clone, Debug)]
pub struct Gains {
    /// g, one number in [0, 2] per unit; all 1 when `status` is not usable.
    pub gains: Vec<f64>,
    /// How the program ended.
    pub status: QpStatus,
    /// Steps of the solver that was needed; 0 when no bound was active.
    pub steps: usize,
}

/// Finds the gains of the `units` units; `unit_of` gives the unit of each of the sorted channels `kept`.
pub fn unit_gains(linear: &Linear<'_>, kept: &[usize], unit_of: &[usize], units: usize, lambda: f64) -> Result<Gains> {
    linear.gram().check_channels(kept)?;
    bail_if(unit_of.len() != kept.len() || unit_of.iter().any(|&u| u >= units), || {
        Fault::internal(format!("each of the {} kept channels needs one of {units} units", kept.len()))
    })?;
    let (matrix, pull) = aggregate(linear, kept, unit_of, units);
    let all: Vec<usize> = (0..units).collect();
    let damped = Damped::new(&Symmetric::double(units, &matrix)?, &all, lambda)?;
    let Some(factor) = damped.factor else { return Ok(Gains::none(units, QpStatus::Failed)) };
    let mut free = Mat::from_fn(units, 1, |i, _| pull[i]);
    factor.solve(free.as_mut());
    if (0..units).all(|i| free[(i, 0)].abs() <= 1.0) {
        return Ok(Gains::from_excess((0..units).map(|i| free[(i, 0)]), QpStatus::Solved, 0));
    }
    let mut a = Dense::gather(&all, &all, |i, j| matrix[i * units + j]);
    a.add_to_diagonal(damped.damping);
    if units <= INTERIOR_POINT {
        return interior_point(&a, &pull);
    }
    let Some(solver) = BoxSolver::new(factor, a) else { return Ok(Gains::none(units, QpStatus::Failed)) };
    let mut x = Mat::from_fn(units, 1, |i, _| pull[i]);
    let report = solver.solve(x.as_mut(), &[1.0]);
    Ok(Gains::from_excess((0..units).map(|i| x[(i, 0)]), report.status, report.steps))
}

impl Gains {
    fn none(units: usize, status: QpStatus) -> Self {
        Self { gains: vec![1.0; units], status, steps: 0 }
    }

    fn from_excess(excess: impl ExactSizeIterator<Item = f64>, status: QpStatus, steps: usize) -> Self {
        if !status.is_usable() {
            return Self { steps, ..Self::none(excess.len(), status) };
        }
        Self { gains: excess.map(|e| 1.0 + e.clamp(-1.0, 1.0)).collect(), status, steps }
    }
}

/// A (units × units, row-major) and r.
fn aggregate(linear: &Linear<'_>, kept: &[usize], unit_of: &[usize], units: usize) -> (Vec<f64>, Vec<f64>) {
    let (n, d) = (linear.channels(), linear.outputs());
    let all: Vec<usize> = (0..n).collect();
    let (own, every) = (weight_block(linear, kept, 0, d), weight_block(linear, &all, 0, d));
    let mut products = Mat::<f64>::zeros(kept.len(), n);
    let (own, every): (MatRef<'_, f64>, MatRef<'_, f64>) = (own.as_ref(), every.as_ref());
    add_product(products.as_mut(), own, every.transpose(), 1.0);
    let mut unit_at = vec![None; n];
    kept.iter().zip(unit_of).for_each(|(&j, &u)| unit_at[j] = Some(u));
    let (mut matrix, mut pull) = (vec![0.0; units * units], vec![0.0; units]);
    for (j, other) in unit_at.iter().enumerate() {
        for (a, (&i, &u)) in kept.iter().zip(unit_of).enumerate() {
            let value = linear.gram().get(i, j) * products[(a, j)];
            match other {
                Some(v) => matrix[u * units + v] += value,
                None => pull[u] += value,
            }
        }
    }
    (matrix, pull)
}

/// The box program by Clarabel.
fn interior_point(a: &Dense, pull: &[f64]) -> Result<Gains> {
    let n = pull.len();
    let outcome = Problem {
        quadratic: Sparse::upper(n, |i, j| a.get(i, j)),
        linear: pull.iter().map(|r| -r).collect(),
        rows: Sparse::from_columns(2 * n, (0..n).map(|i| [(i, 1.0), (n + i, -1.0)])),
        limits: vec![1.0; 2 * n],
        equalities: 0,
    }
    .solve()?;
    Ok(Gains::from_excess(outcome.x.into_iter(), outcome.status, outcome.iterations as usize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::error_energy;
    use crate::testkit::{massive_spectrum, normal};

    #[test]
    fn a_case_worked_by_hand() {
        // Two equal channels that write the same: the kept one doubles; three of them would need 3, the bound is 2.
        let one = Symmetric::full(2, &[1.0; 4]).unwrap();
        let linear = Linear::new(one, &[1.0, 1.0], 1).unwrap();
        let found = unit_gains(&linear, &[0], &[0], 1, 0.0).unwrap();
        assert_eq!((found.gains, found.status), (vec![2.0], QpStatus::Solved));
        let three = Linear::new(Symmetric::full(3, &[1.0; 9]).unwrap(), &[1.0; 3], 1).unwrap();
        let found = unit_gains(&three, &[0], &[0], 1, 0.0).unwrap();
        assert!((found.gains[0] - 2.0).abs() < 1e-6 && found.steps > 0, "{found:?}");
    }

    #[test]
    fn both_solvers_agree_and_the_error_falls() {
        let (n, d) = (90, 5);
        let (packed, w) = (massive_spectrum(61, 3 * n, n), normal(62, n * d));
        let linear = Linear::new(Symmetric::packed(n, &packed).unwrap(), &w, d).unwrap();
        let kept: Vec<usize> = (0..n).filter(|j| j % 3 != 1).collect();
        let unit_of: Vec<usize> = (0..60).map(|i| i / 2).collect();
        let found = unit_gains(&linear, &kept, &unit_of, 30, 1e-4).unwrap();
        assert!(found.status.is_usable() && found.gains.iter().all(|g| (0.0..=2.0).contains(g)));
        let scaled: Vec<f32> =
            linear.rows(&kept).iter().enumerate().map(|(k, w)| w * found.gains[k / d / 2] as f32).collect();
        let error = |v: &[f32]| error_energy(&linear, &kept, v, None).unwrap();
        assert!(error(&scaled) < error(&linear.rows(&kept)));

        let (matrix, pull) = aggregate(&linear, &kept, &unit_of, 30);
        // A harder pull, so that bounds are active in both solvers.
        let pull: Vec<f64> = pull.iter().map(|r| 20.0 * r).collect();
        let all: Vec<usize> = (0..30).collect();
        let a = || {
            let mut a = Dense::gather(&all, &all, |i, j| matrix[i * 30 + j]);
            a.add_to_diagonal(1e-4 * a.get(0, 0));
            a
        };
        let exact = interior_point(&a(), &pull).unwrap();
        let solver = BoxSolver::new(crate::cholesky::Cholesky::new(a()).unwrap(), a()).unwrap();
        let mut x = Mat::from_fn(30, 1, |i, _| pull[i]);
        assert!(solver.solve(x.as_mut(), &[1.0]).steps > 0);
        assert!((0..30).all(|i| (exact.gains[i] - 1.0 - x[(i, 0)]).abs() < 1e-4));
    }
}
