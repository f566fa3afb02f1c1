//! The factor of a damped Gram matrix H_SS + λ m I, m = mean diag H_SS, with damping that grows until it is safe.

use oops_core::{Fault, Result, bail_if, finite::larger};

use crate::cholesky::Cholesky;
use crate::dense::Dense;
use crate::symmetric::Symmetric;

/// Above this condition number the answer has no digits left that f32 data could justify.
const MAX_CONDITION: f64 = 1e13;

/// The damping grows by this factor per attempt …
const GROWTH: f64 = 10.0;

/// … from this share of m …
const FIRST: f64 = 1e-10;

/// … for this many attempts, that is up to 10 m.
const ATTEMPTS: usize = 12;

/// How a linear solve ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SolveStatus {
    /// As asked.
    Solved,
    /// The matrix was singular to working precision; `added` is the damping added to its diagonal beyond the one
    /// asked for, in units of the diagonal.
    Regularized {
        /// Extra damping.
        added: f64,
    },
    /// No damping up to ten times the mean diagonal helped: the matrix is no Gram matrix. There is no solution.
    NotPositiveDefinite,
}

/// A factored damped matrix.
pub(crate) struct Damped {
    pub(crate) factor: Option<Cholesky>,
    pub(crate) damping: f64,
    pub(crate) status: SolveStatus,
}

impl Damped {
    /// Factors H_SS + λ m I for S = `channels`. Fails when H has an entry that is not finite or λ is negative.
    pub(crate) fn new(h: &Symmetric<'_>, channels: &[usize], lambda: f64) -> Result<Self> {
        h.check_channels(channels)?;
        bail_if(!(lambda.is_finite() && lambda >= 0.0), || {
            Fault::config(format!("damping {lambda} is not allowed")).help("a finite number, 0 or more")
        })?;
        let mean = h.mean_diagonal(channels);
        let unit = if mean > 0.0 { mean } else { 1.0 };
        let asked = lambda * mean;
        for attempt in 0..=ATTEMPTS {
            let added = if attempt == 0 { 0.0 } else { larger(asked, FIRST * unit) * GROWTH.powi(attempt as i32 - 1) };
            let mut a = Dense::gather(channels, channels, |i, j| h.get(i, j));
            bail_if(!a.is_finite(), || Fault::data("the Gram matrix has an entry that is not finite"))?;
            a.add_to_diagonal(asked + added);
            if let Some(factor) = Cholesky::new(a).filter(|f| f.condition() <= MAX_CONDITION) {
                let status = if attempt == 0 { SolveStatus::Solved } else { SolveStatus::Regularized { added } };
                return Ok(Self { factor: Some(factor), damping: asked + added, status });
            }
        }
        Ok(Self { factor: None, damping: asked, status: SolveStatus::NotPositiveDefinite })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(packed: &[f32], lambda: f64) -> SolveStatus {
        Damped::new(&Symmetric::packed(2, packed).unwrap(), &[0, 1], lambda).unwrap().status
    }

    #[test]
    fn damping_grows_only_where_it_must() {
        assert_eq!(status(&[2.0, 1.0, 2.0], 0.0), SolveStatus::Solved);
        assert_eq!(status(&[1.0, 1.0, 1.0], 1e-3), SolveStatus::Solved);
        assert!(matches!(status(&[1.0, 1.0, 1.0], 0.0), SolveStatus::Regularized { added } if added < 1e-8));
        assert!(matches!(status(&[0.0, 0.0, 0.0], 0.0), SolveStatus::Regularized { .. }));
        assert_eq!(status(&[1.0, 1e6, 1.0], 0.0), SolveStatus::NotPositiveDefinite);
    }

    #[test]
    fn bad_input_is_a_fault() {
        let nan = [1.0, f32::NAN, 1.0];
        assert!(Symmetric::packed(2, &nan).is_err());
        assert!(Damped::new(&Symmetric::packed(2, &[1.0, 0.0, 1.0]).unwrap(), &[0, 1], -1.0).is_err());
    }
}
