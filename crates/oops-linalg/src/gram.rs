//! The Gram matrix XᵀX of a site's activations, accumulated chunk by chunk with half the work of a full product.

use faer::{MatMut, MatRef};
use oops_core::{Fault, Result, bail_if};

use crate::product::add_symmetric;
use crate::symmetric::{Symmetric, packed_len};
#[cfg(target_arch = "x86_64")]
use crate::wide_gram;

/// A symmetric n × n sum of outer products in f32, of which only the lower triangle is kept up to date.
///
/// H = XᵀX / T is `gram.scale(1.0 / tokens)`. The bits of the result depend on the chunks and their order, never on
/// the number of threads.
#[derive(Clone, Debug, PartialEq)]
pub struct Gram {
    n: usize,
    /// Row-major n × n; entries above the diagonal are zero.
    values: Vec<f32>,
}

impl Gram {
    /// The zero matrix of size n × n.
    pub fn new(n: usize) -> Self {
        Self { n, values: vec![0.0; n * n] }
    }

    /// The size n.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Adds XᵀX for `x` (rows × n, row-major). Fails when the length of `x` is no multiple of n.
    pub fn add(&mut self, x: &[f32]) -> Result<()> {
        let n = self.n;
        let whole = if n == 0 { x.is_empty() } else { x.len().is_multiple_of(n) };
        bail_if(!whole, || Fault::internal(format!("{} activations are no whole rows of {n} channels", x.len())))?;
        if x.is_empty() {
            return Ok(());
        }
        #[cfg(target_arch = "x86_64")]
        if wide_gram::is_available() {
            wide_gram::add(&mut self.values, x, n);
            return Ok(());
        }
        let x = MatRef::from_row_major_slice(x, x.len() / n, n);
        add_symmetric(MatMut::from_row_major_slice_mut(&mut self.values, n, n), x.transpose(), 1.0);
        Ok(())
    }

    /// Adds another sum over the same channels.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        bail_if(self.n != other.n, || Fault::internal(format!("Gram sizes differ: {} and {}", self.n, other.n)))?;
        self.values.iter_mut().zip(&other.values).for_each(|(a, b)| *a += b);
        Ok(())
    }

    /// Multiplies every entry by `factor`.
    pub fn scale(&mut self, factor: f32) {
        self.values.iter_mut().for_each(|v| *v *= factor);
    }

    /// The entry (i, j).
    pub fn get(&self, i: usize, j: usize) -> f32 {
        self.values[i.max(j) * self.n + i.min(j)]
    }

    /// Row i of the lower triangle: the i + 1 entries (i, 0) … (i, i).
    pub fn lower_row(&self, i: usize) -> &[f32] {
        &self.values[i * self.n..=i * self.n + i]
    }

    /// The n diagonal entries: sums of squares per channel.
    pub fn diagonal(&self) -> Vec<f32> {
        (0..self.n).map(|i| self.values[i * self.n + i]).collect()
    }

    /// The lower triangle row after row, n (n + 1) / 2 entries.
    pub fn to_packed(&self) -> Vec<f32> {
        let mut packed = Vec::with_capacity(packed_len(self.n));
        (0..self.n).for_each(|i| packed.extend_from_slice(self.lower_row(i)));
        packed
    }

    /// The inverse of [`Gram::to_packed`].
    pub fn from_packed(n: usize, packed: &[f32]) -> Result<Self> {
        Symmetric::packed(n, packed)?;
        let mut gram = Self::new(n);
        for i in 0..n {
            gram.values[i * n..=i * n + i].copy_from_slice(&packed[packed_len(i)..packed_len(i + 1)]);
        }
        Ok(gram)
    }

    /// A view for the solvers of this crate.
    pub fn view(&self) -> Symmetric<'_> {
        Symmetric::lower_rows(self.n, &self.values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{normal, with_threads};

    fn gram_of(x: &[f32], n: usize) -> Gram {
        let mut gram = Gram::new(n);
        gram.add(x).unwrap();
        gram
    }

    #[test]
    fn a_case_worked_by_hand() {
        // X = [1 2; 3 4]: XᵀX = [10 14; 14 20].
        let gram = gram_of(&[1.0, 2.0, 3.0, 4.0], 2);
        assert_eq!(gram.to_packed(), [10.0, 14.0, 20.0]);
        assert_eq!((gram.get(0, 1), gram.get(1, 0)), (14.0, 14.0));
        assert_eq!(gram.diagonal(), [10.0, 20.0]);
    }

    #[test]
    fn equals_the_sum_over_rows_in_double_precision() {
        let (rows, n) = (37, 301);
        let x = normal(1, rows * n);
        let gram = gram_of(&x, n);
        for (i, j) in [(0, 0), (300, 0), (17, 290), (256, 255), (300, 300)] {
            let exact: f64 = (0..rows).map(|t| x[t * n + i] as f64 * x[t * n + j] as f64).sum();
            assert!((gram.get(i, j) as f64 - exact).abs() < 1e-4 * rows as f64, "{i} {j}");
        }
    }

    #[test]
    fn the_same_bits_for_one_two_and_three_threads() {
        for (rows, n) in [(64, 100), (300, 577), (513, 1000)] {
            let x = normal(2, rows * n);
            let one = with_threads(1, || gram_of(&x, n));
            for threads in [2, 3] {
                assert!(with_threads(threads, || gram_of(&x, n)) == one, "n = {n}, {threads} threads");
            }
        }
    }

    #[test]
    fn merge_scale_and_packing_are_what_they_say() {
        let (a, b) = (normal(3, 5 * 40), normal(4, 7 * 40));
        let mut sum = gram_of(&a, 40);
        sum.merge(&gram_of(&b, 40)).unwrap();
        let both = gram_of(&[a, b].concat(), 40);
        assert!(sum.to_packed().iter().zip(both.to_packed()).all(|(s, t)| (s - t).abs() < 1e-4));
        assert_eq!(Gram::from_packed(40, &sum.to_packed()).unwrap(), sum);
        let before = sum.get(3, 2);
        sum.scale(0.5);
        assert_eq!(sum.get(3, 2), 0.5 * before);
    }

    #[test]
    fn wrong_sizes_are_faults() {
        assert!(Gram::new(3).add(&[1.0; 4]).is_err());
        assert!(Gram::new(3).merge(&Gram::new(2)).is_err());
        assert!(Gram::from_packed(3, &[0.0; 5]).is_err());
        assert!(Gram::new(0).add(&[]).is_ok());
    }
}
