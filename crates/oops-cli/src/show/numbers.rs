//! Least, median and greatest of many numbers.

use serde_json::{Value, json};

/// The three; nulls without numbers.
pub(super) fn range(values: &[f64]) -> [Value; 3] {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => [Value::Null, Value::Null, Value::Null],
        n if n % 2 == 0 => {
            [json!(sorted[0]), json!(f64::midpoint(sorted[middle - 1], sorted[middle])), json!(sorted[n - 1])]
        }
        n => [json!(sorted[0]), json!(sorted[middle]), json!(sorted[n - 1])],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_two() {
        assert_eq!(range(&[]), [Value::Null, Value::Null, Value::Null]);
        assert_eq!(range(&[3.0, 1.0, 2.0]), [json!(1.0), json!(2.0), json!(3.0)]);
        assert_eq!(range(&[4.0, 1.0, 2.0, 3.0]), [json!(1.0), json!(2.5), json!(4.0)]);
    }
}
