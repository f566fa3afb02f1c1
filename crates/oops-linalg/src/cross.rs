//! The product XᵀY of a site's activations with what its map shall give, accumulated chunk by chunk.

use faer::{MatMut, MatRef};
use oops_core::{Fault, Result, bail_if};

use crate::product::add_product;

/// An n × d sum of outer products in f32: Σ x_tᵀy_t over tokens.
///
/// Like [`crate::Gram`], the bits depend on the chunks and their order, never on the number of threads.
#[derive(Clone, Debug, PartialEq)]
pub struct Cross {
    n: usize,
    d: usize,
    values: Vec<f32>,
}

impl Cross {
    /// Zeros of size n × d.
    pub fn new(n: usize, d: usize) -> Self {
        Self { n, d, values: vec![0.0; n * d] }
    }

    /// Outputs d.
    pub fn outputs(&self) -> usize {
        self.d
    }

    /// Adds XᵀY for `x` (rows × n) and `y` (rows × d), both row-major. Fails when they are not of as many rows.
    pub fn add(&mut self, x: &[f32], y: &[f32]) -> Result<()> {
        let rows = y.len().checked_div(self.d).unwrap_or(0);
        bail_if(x.len() != rows * self.n || y.len() != rows * self.d, || {
            Fault::internal(format!("{} and {} values are no rows of {} and {}", x.len(), y.len(), self.n, self.d))
        })?;
        if rows > 0 && self.n > 0 {
            let sum = MatMut::from_row_major_slice_mut(&mut self.values, self.n, self.d);
            let y = MatRef::from_row_major_slice(y, rows, self.d);
            add_product(sum, MatRef::from_row_major_slice(x, rows, self.n).transpose(), y, 1.0);
        }
        Ok(())
    }

    /// The sum times `factor`, n × d, row-major.
    pub fn scaled(mut self, factor: f32) -> Vec<f32> {
        self.values.iter_mut().for_each(|v| *v *= factor);
        self.values
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{normal, with_threads};

    #[test]
    fn a_case_worked_by_hand() {
        // X = [1 2; 3 4], Y = (1, 10)ᵀ: XᵀY = (31, 42).
        let mut cross = Cross::new(2, 1);
        cross.add(&[1.0, 2.0], &[1.0]).unwrap();
        cross.add(&[3.0, 4.0], &[10.0]).unwrap();
        assert!(cross.add(&[1.0], &[1.0]).is_err());
        assert_eq!(cross.scaled(0.5), [15.5, 21.0]);
    }

    #[test]
    fn the_same_bits_for_one_and_two_threads() {
        let (x, y) = (normal(1, 200 * 400), normal(2, 200 * 300));
        let sum = |threads| {
            with_threads(threads, || {
                let mut cross = Cross::new(400, 300);
                cross.add(&x, &y).unwrap();
                cross
            })
        };
        assert!(sum(1) == sum(2));
    }
}
