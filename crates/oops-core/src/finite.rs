//! Largest values, floors and checks that NaN does not slip through.
//!
//! `f64::max` and `f64::min` give the other number where one is NaN, so `x.max(0.0)` turns NaN into a perfect 0 and a fold
//! with them forgets it. A comparison does the same. Numeric crates use these functions instead; a test over their sources
//! refuses the others.

use crate::{Fault, Result, bail_if};

/// x, or 0 where x is below: for sums that are never negative but for rounding. What is not finite stays as it is.
pub fn at_least_zero(x: f64) -> f64 {
    if x < 0.0 && x.is_finite() { 0.0 } else { x }
}

/// The larger of two numbers; NaN if one is NaN.
pub fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

/// The smaller of two numbers; NaN if one is NaN.
pub fn smaller(a: f64, b: f64) -> f64 {
    if a.is_nan() || a < b { a } else { b }
}

/// The largest number; NaN if one is NaN, −∞ for none.
pub fn largest(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().fold(f64::NEG_INFINITY, larger)
}

/// The largest magnitude; NaN if one number is NaN, 0 for none.
pub fn largest_magnitude<T: Copy + Into<f64>>(values: &[T]) -> f64 {
    values.iter().fold(0.0, |most, &v| larger(most, v.into().abs()))
}

/// Fails unless all of `values` are finite. `what` names them with an article: "a score".
pub fn check_finite<T: Copy + Into<f64>>(values: &[T], what: &str) -> Result<()> {
    let bad = values.iter().position(|&v| !v.into().is_finite());
    bail_if(bad.is_some(), || Fault::numerical(format!("{what} is not finite (number {})", bad.unwrap_or_default())))
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "cases worked by hand are exact")]
mod tests {
    use super::*;

    #[test]
    fn nan_survives_and_all_else_is_as_usual() {
        assert_eq!([at_least_zero(-1e-9), at_least_zero(-0.0), at_least_zero(2.0)], [0.0, 0.0, 2.0]);
        assert_eq!([larger(1.0, 2.0), larger(2.0, 1.0), smaller(1.0, 2.0), smaller(2.0, 1.0)], [2.0, 2.0, 1.0, 1.0]);
        assert_eq!([largest([1.0, 3.0, 2.0]), largest([])], [3.0, f64::NEG_INFINITY]);
        assert_eq!([largest_magnitude(&[1.0f32, -3.0, 2.0]), largest_magnitude::<f64>(&[])], [3.0, 0.0]);
        let nan = f64::NAN;
        for places in [[nan, 1.0, 2.0], [1.0, nan, 2.0], [1.0, 2.0, nan]] {
            assert!(largest(places).is_nan() && largest_magnitude(&places).is_nan(), "{places:?}");
            assert!(check_finite(&places, "a number").is_err());
        }
        for (a, b) in [(nan, 1.0), (1.0, nan), (nan, f64::INFINITY)] {
            assert!(larger(a, b).is_nan() && smaller(a, b).is_nan());
        }
        assert!(at_least_zero(nan).is_nan() && at_least_zero(f64::NEG_INFINITY).is_infinite());
    }

    #[test]
    fn the_first_number_that_is_not_finite_is_named() {
        let error = check_finite(&[0.0f32, f32::MAX, f32::INFINITY], "a score").unwrap_err();
        assert!(error.what().contains("a score is not finite (number 2)"), "{error}");
        assert!(check_finite(&[f64::MIN, f64::MAX], "a score").is_ok());
    }
}
