//! Figures over seeds, and as text.

/// The different values, in order of their first appearance.
pub(super) fn distinct<T: PartialEq>(values: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut out = Vec::new();
    for value in values {
        if !out.contains(&value) {
            out.push(value);
        }
    }
    out
}

/// The median (of an even number of values the mean of the two in the middle); none without values.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 0 => Some(0.5 * (sorted[middle - 1] + sorted[middle])),
        _ => Some(sorted[middle]),
    }
}

/// Median and, of several values, least and greatest.
pub(super) fn spread(values: &[f64], shown: impl Fn(f64) -> String) -> String {
    let Some(middle) = median(values) else { return String::new() };
    if values.len() == 1 {
        return shown(middle);
    }
    let (least, greatest) = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), &v| (a.min(v), b.max(v)));
    format!("{} ({}–{})", shown(middle), shown(least), shown(greatest))
}

/// A perplexity to about four digits.
pub(super) fn perplexity(v: f64) -> String {
    match v {
        v if v < 10.0 => format!("{v:.3}"),
        v if v < 100.0 => format!("{v:.2}"),
        v if v < 10_000.0 => format!("{v:.1}"),
        v => format!("{v:.2e}"),
    }
}

/// Seconds to about two digits.
pub(super) fn seconds(s: f64) -> String {
    match s {
        s if s < 0.05 => "0".to_owned(),
        s if s < 10.0 => format!("{s:.1}"),
        s => format!("{s:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_values_are_shown_with_their_spread() {
        assert_eq!(spread(&[], perplexity), "");
        assert_eq!(spread(&[2.5], perplexity), "2.500");
        assert_eq!(spread(&[30.0, 10.0, 20.0], perplexity), "20.00 (10.00–30.00)");
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn figures_have_about_four_digits() {
        assert_eq!([1.8765, 34.567, 512.34, 51_300.0].map(perplexity), ["1.877", "34.57", "512.3", "5.13e4"]);
        assert_eq!([0.01, 3.25, 112.4].map(seconds), ["0", "3.2", "112"]);
    }
}
