//! Location and spread of a list of numbers, the robust pair included, and the weights of tokens. All in f64; NaN among the
//! numbers gives NaN.

/// A location and a spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Mean or median.
    pub centre: f64,
    /// Standard deviation or scaled median absolute deviation, in the unit of the numbers.
    pub scale: f64,
}

impl Spread {
    /// (x − centre) / scale; 0 when the scale is 0, as all of the numbers, or most, are then equal.
    pub fn standardise(&self, x: f64) -> f64 {
        if self.scale == 0.0 && !x.is_nan() && !self.centre.is_nan() { 0.0 } else { (x - self.centre) / self.scale }
    }
}

/// The median; the mean of the two middle values for an even count. `None` for no values, NaN if one of them is NaN.
pub fn median(values: &[f64]) -> Option<f64> {
    if values.is_empty() || values.iter().any(|v| v.is_nan()) {
        return (!values.is_empty()).then_some(f64::NAN);
    }
    let mut values = values.to_vec();
    let (middle, odd) = (values.len() / 2, !values.len().is_multiple_of(2));
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let lower = below.iter().copied().max_by(f64::total_cmp).filter(|_| !odd).unwrap_or(*upper);
    Some(f64::midpoint(lower, *upper))
}

/// w = min(1, κ·median/e) of a token of energy e: a few massive tokens, whose energies are thousands of times all others',
/// then do not own what is fitted. The median is that of all tokens that are fitted on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenWeights {
    /// κ·median; `None` where all weigh 1.
    limit: Option<f64>,
}

impl TokenWeights {
    /// For κ and the `energies` of all tokens that are fitted on; with κ = 0, or without tokens, all weigh 1.
    pub fn new(kappa: f64, energies: &[f64]) -> Self {
        Self { limit: median(energies).filter(|_| kappa > 0.0).map(|m| kappa * m) }
    }

    /// Whether all tokens weigh 1, whatever their energy.
    pub fn is_plain(&self) -> bool {
        self.limit.is_none()
    }

    /// w of a token of this energy; NaN for NaN.
    pub fn of(&self, energy: f64) -> f64 {
        match self.limit {
            Some(limit) if energy > limit || energy.is_nan() || limit.is_nan() => limit / energy,
            _ => 1.0,
        }
    }
}

/// Mean and standard deviation of a sample (n − 1 in the denominator, as torch has it; one value has none), in two passes;
/// the mean is NaN for no values.
pub fn mean_std(values: &[f64]) -> Spread {
    let (n, freedom) = (values.len() as f64, values.len().saturating_sub(1).max(1) as f64);
    let centre = values.iter().sum::<f64>() / n;
    let scale = (values.iter().map(|v| (v - centre).powi(2)).sum::<f64>() / freedom).sqrt();
    Spread { centre, scale }
}

/// Median and 1.4826 · median|x − median|, which is the standard deviation for normal numbers and blind to outliers; both
/// NaN for no values.
pub fn median_mad(values: &[f64]) -> Spread {
    let centre = median(values).unwrap_or(f64::NAN);
    let distances: Vec<f64> = values.iter().map(|v| (v - centre).abs()).collect();
    Spread { centre, scale: 1.482_602_218_505_602 * median(&distances).unwrap_or(f64::NAN) }
}

/// How many weights of W (`rows × scale.len()`, row-major) have |W_ij|·`scale`_j above `multiple` times the mean of that.
pub fn count_above_mean(weights: &[f32], scale: &[f64], multiple: f64) -> usize {
    let n = scale.len().max(1);
    let loud = |row: &[f32], f: &mut dyn FnMut(f64)| {
        row.iter().zip(scale).for_each(|(&v, x)| f(f64::from(v).abs() * x));
    };
    let mut total = 0.0;
    weights.chunks_exact(n).for_each(|row| loud(row, &mut |v| total += v));
    let (limit, mut above) = (multiple * total / weights.len().max(1) as f64, 0);
    weights.chunks_exact(n).for_each(|row| loud(row, &mut |v| above += usize::from(v > limit)));
    above
}

/// Slope of the least-squares line through points (x, y): Σ (x − x̄)(y − ȳ) / Σ (x − x̄)²; NaN for fewer than two values of x.
pub fn slope(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let (mx, my) = (points.iter().map(|p| p.0).sum::<f64>() / n, points.iter().map(|p| p.1).sum::<f64>() / n);
    let (xy, xx) = points.iter().fold((0.0, 0.0), |(xy, xx), (x, y)| (xy + (x - mx) * (y - my), xx + (x - mx).powi(2)));
    xy / xx
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_even_and_empty_lists() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!((median(&[]), median(&[7.0])), (None, Some(7.0)));
        assert!(median(&[1.0, f64::NAN, 2.0]).is_some_and(f64::is_nan));
    }

    #[test]
    fn a_token_weighs_no_more_than_kappa_medians_of_energy() {
        let law = TokenWeights::new(10.0, &[1.0, 4.0, 250_000.0]);
        assert_eq!((law.of(1.0), law.of(40.0), law.of(80.0), law.of(250_000.0)), (1.0, 1.0, 0.5, 40.0 / 250_000.0));
        assert!(law.of(f64::NAN).is_nan() && !law.is_plain());
        for plain in [TokenWeights::new(0.0, &[1.0, 4.0]), TokenWeights::new(10.0, &[])] {
            assert!(plain.is_plain() && plain.of(1e30) == 1.0);
        }
    }

    #[test]
    fn spreads_worked_by_hand() {
        assert_eq!(mean_std(&[1.0, 3.0]), Spread { centre: 2.0, scale: 2.0f64.sqrt() });
        // Median 3, distances 2 1 0 1 997: their median is 1. The outlier does not count.
        let robust = median_mad(&[1.0, 2.0, 3.0, 4.0, 1000.0]);
        assert_eq!(robust, Spread { centre: 3.0, scale: 1.482_602_218_505_602 });
        assert!((robust.standardise(4.0) - 0.674_489_750_196_081_7).abs() < 1e-12);
        assert_eq!(mean_std(&[5.0, 5.0]).standardise(9.0), 0.0);
    }

    #[test]
    fn weights_above_the_mean_are_counted() {
        // |W|·scale = 1, 2, 3, 18: mean 6.
        assert_eq!(count_above_mean(&[1.0, -1.0, 3.0, 9.0], &[1.0, 2.0], 2.0), 1);
        assert_eq!(count_above_mean(&[1.0, -1.0, 3.0, 9.0], &[1.0, 2.0], 0.4), 2);
    }

    #[test]
    fn a_slope_is_that_of_the_line_and_blind_to_even_noise() {
        let cubic = [1.0_f64, 2.0, 4.0].map(|x| (x.ln(), (5.0 * x.powi(3)).ln()));
        assert!((slope(&cubic) - 3.0).abs() < 1e-12);
        assert!((slope(&[(0.0, 1.0), (0.0, 3.0), (1.0, 2.0), (1.0, 4.0)]) - 1.0).abs() < 1e-12);
        assert!(slope(&[(1.0, 2.0)]).is_nan());
    }
}
