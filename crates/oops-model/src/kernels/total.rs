//! The sum of a long slice: the least that can be done with all of it, so that its time is that of reading memory.

use rayon::prelude::*;

use super::vector;

/// Values of one task.
const VALUES_PER_TASK: usize = 1 << 16;

/// Σ x.
pub(crate) fn total(x: &[f32]) -> f32 {
    let sums: Vec<f32> = x.par_chunks(VALUES_PER_TASK).map(|x| simd!(|| vector::sum(x))).collect();
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_counts_once() {
        assert_eq!(total(&vec![0.5; 3 * VALUES_PER_TASK + 7]), 98_307.5);
        assert_eq!(total(&[]), 0.0);
    }
}
