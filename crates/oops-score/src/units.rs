//! From channels to units: reductions and standardisation.

use oops_linalg::stats::{mean_std, median, median_mad};

/// Sum of a unit's channels.
pub(crate) fn sum(channels: &[f64]) -> f64 {
    channels.iter().sum()
}

/// Mean of a unit's channels.
pub(crate) fn mean(channels: &[f64]) -> f64 {
    sum(channels) / channels.len().max(1) as f64
}

/// (x − centre) / spread with mean and standard deviation, or, if `robust`, median and 1.4826·MAD. A spread of zero
/// gives zeros: nothing tells the channels apart.
pub(crate) fn standardize(x: &[f64], robust: bool) -> Vec<f64> {
    let spread = if robust { median_mad(x) } else { mean_std(x) };
    x.iter().map(|&v| spread.standardise(v)).collect()
}

/// x / median(x); x itself where the median is not positive.
pub(crate) fn by_median(x: &[f64]) -> Vec<f64> {
    let m = median(x).filter(|&m| m > 0.0 || m.is_nan());
    x.iter().map(|v| m.map_or(*v, |m| v / m)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_outlier_moves_the_mean_but_not_the_median() {
        let x = [1.0, 2.0, 3.0, 4.0, 1e6];
        let plain = standardize(&x, false);
        let robust = standardize(&x, true);
        assert!((plain[0] - plain[3]).abs() < 1e-4, "the rest looks alike");
        assert!((robust[3] - robust[0] - 3.0 / 1.4826).abs() < 1e-4);
        assert_eq!(standardize(&[5.0; 3], true), [0.0; 3]);
    }
}
