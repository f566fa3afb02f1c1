//! Median and quartiles of repeated measurements.

use serde::Serialize;

/// What repeated measurements came to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    /// Half of them lie below.
    median: f64,
    /// A quarter of them lie below the first, a quarter above the second.
    quartiles: [f64; 2],
}

impl Spread {
    /// Of at least one value; between two of them quantiles are interpolated.
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let quantile = |q: f64| {
            let at = q * values.len().saturating_sub(1) as f64;
            let (low, high) = (values[at.floor() as usize], values[at.ceil() as usize]);
            low + (high - low) * at.fract()
        };
        Self { median: quantile(0.5), quartiles: [quantile(0.25), quantile(0.75)] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_few_values_are_interpolated() {
        assert_eq!(Spread::of(vec![3.0]), Spread { median: 3.0, quartiles: [3.0, 3.0] });
        assert_eq!(Spread::of(vec![4.0, 1.0, 3.0, 2.0]), Spread { median: 2.5, quartiles: [1.75, 3.25] });
        assert_eq!(Spread::of(vec![5.0, 1.0, 2.0, 4.0, 3.0]), Spread { median: 3.0, quartiles: [2.0, 4.0] });
    }
}
