//! The program of one removed channel and its carriers, in amplitudes; see [`super::transfer()`].

use faer::{Mat, MatRef};
use oops_core::Result;

use super::{Problem, QpStatus, Sparse, TransferOptions};
use crate::cholesky::Cholesky;
use crate::dense::Dense;

/// One program in amplitudes t_i = b_i √(H_ii / H_pp): min ½ tᵀR t − rᵀt subject to aᵀt = target and the bounds.
pub(crate) struct Scaled {
    /// R + λ I, correlations of the carriers.
    pub(crate) matrix: Dense,
    /// r, their correlations with the removed channel.
    pub(crate) pull: Vec<f64>,
    /// a and the target, when the mean can be kept.
    pub(crate) mean: Option<(Vec<f64>, f64)>,
}

/// The minimiser of a [`Scaled`] program.
pub(crate) struct Found {
    pub(crate) t: Vec<f64>,
    pub(crate) status: QpStatus,
    pub(crate) iterations: u32,
    pub(crate) keeps_mean: bool,
}

impl Scaled {
    /// In closed form where the bounds allow it, else by the interior point, without the mean where it is impossible.
    pub(crate) fn solve(&self, options: &TransferOptions<'_>) -> Result<Found> {
        let inside = |t: &[f64]| {
            t.iter().all(|v| v.abs() <= options.bound.unwrap_or(f64::INFINITY))
                && t.iter().map(|v| v.abs()).sum::<f64>() <= options.total.unwrap_or(f64::INFINITY)
        };
        if let Some(t) = self.closed_form().filter(|t| inside(t)) {
            return Ok(Found { t, status: QpStatus::Solved, iterations: 0, keeps_mean: self.mean.is_some() });
        }
        let found = self.interior_point(options, true)?;
        if found.status == QpStatus::Infeasible && self.mean.is_some() {
            return self.interior_point(options, false);
        }
        Ok(found)
    }

    /// The optimum under the mean alone; `None` when the matrix is singular.
    pub(crate) fn closed_form(&self) -> Option<Vec<f64>> {
        let m = self.pull.len();
        if m == 0 {
            return Some(Vec::new());
        }
        let all: Vec<usize> = (0..m).collect();
        let factor = Cholesky::new(Dense::gather(&all, &all, |i, j| self.matrix.get(i, j)))?;
        let zero = vec![0.0; m];
        let row = self.mean.as_ref().map_or(&zero, |m| &m.0);
        let mut x = Mat::from_fn(m, 2, |i, j| if j == 0 { self.pull[i] } else { row[i] });
        factor.solve(x.as_mut());
        let x: MatRef<'_, f64> = x.as_ref();
        let along = |j: usize| row.iter().enumerate().map(|(i, a)| a * x[(i, j)]).sum::<f64>();
        let multiplier = self.mean.as_ref().map_or(0.0, |(_, target)| (along(0) - target) / along(1));
        let t: Vec<f64> = (0..m).map(|i| x[(i, 0)] - multiplier * x[(i, 1)]).collect();
        (factor.condition() < 1e13 && t.iter().all(|v| v.is_finite())).then_some(t)
    }

    /// The same with bounds: m variables t, and m more, s ≥ |t|, where their sum is bounded.
    pub(crate) fn interior_point(&self, options: &TransferOptions<'_>, with_mean: bool) -> Result<Found> {
        let m = self.pull.len();
        let mean = self.mean.as_ref().filter(|_| with_mean);
        let e = usize::from(mean.is_some());
        let (boxed, summed) = (if options.bound.is_some() { 2 * m } else { 0 }, options.total.is_some());
        let absolute = e + boxed;
        let rows_count = absolute + if summed { 2 * m + 1 } else { 0 };
        let mut quadratic = Sparse::upper(m, |i, j| self.matrix.get(i, j));
        let mut rows = Sparse::new(rows_count);
        for i in 0..m {
            let mut column: Vec<(usize, f64)> = mean.iter().map(|(row, _)| (0, row[i])).collect();
            if options.bound.is_some() {
                column.extend([(e + i, 1.0), (e + m + i, -1.0)]);
            }
            if summed {
                column.extend([(absolute + i, 1.0), (absolute + m + i, -1.0)]);
            }
            rows.push(column);
        }
        if summed {
            quadratic = quadratic.padded(2 * m);
            (0..m).for_each(|i| rows.push([(absolute + i, -1.0), (absolute + m + i, -1.0), (absolute + 2 * m, 1.0)]));
        }
        let mut limits: Vec<f64> = mean.iter().map(|(_, target)| *target).collect();
        limits.extend(options.bound.iter().flat_map(|&b| std::iter::repeat_n(b, 2 * m)));
        limits.extend(options.total.iter().flat_map(|&k| std::iter::repeat_n(0.0, 2 * m).chain([k])));
        let pull = self.pull.iter().map(|r| -r);
        let linear = pull.chain(std::iter::repeat_n(0.0, if summed { m } else { 0 })).collect();
        let outcome = Problem { quadratic, linear, rows, limits, equalities: e }.solve()?;
        let usable = outcome.status.is_usable();
        let t = outcome.x[..m].iter().map(|v| if usable { *v } else { 0.0 }).collect();
        Ok(Found { t, status: outcome.status, iterations: outcome.iterations, keeps_mean: usable && e == 1 })
    }
}
