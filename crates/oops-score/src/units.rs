//! From channels to units: reductions and standardisation.

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
    let (center, spread) = if robust {
        let m = median(x.to_vec());
        (m, 1.4826 * median(x.iter().map(|v| (v - m).abs()).collect()))
    } else {
        let m = mean(x);
        (m, (x.iter().map(|v| (v - m) * (v - m)).sum::<f64>() / x.len().max(1) as f64).sqrt())
    };
    x.iter().map(|v| if spread > 0.0 { (v - center) / spread } else { 0.0 }).collect()
}

fn median(mut x: Vec<f64>) -> f64 {
    x.sort_by(f64::total_cmp);
    match x.len() {
        0 => 0.0,
        n if n % 2 == 1 => x[n / 2],
        n => f64::midpoint(x[n / 2 - 1], x[n / 2]),
    }
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
        assert!((robust[3] - robust[0] - 3.0 / 1.4826).abs() < 1e-9);
        assert_eq!(standardize(&[5.0; 3], true), [0.0; 3]);
    }
}
