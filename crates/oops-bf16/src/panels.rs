//! Rounding, and the order in which a tile reads its operands.

use rayon::prelude::*;

/// A matrix in bf16: rows in panels of `LANES`, of each panel one pair of columns after the other, of each pair the lanes.
/// Missing rows and an odd last column are filled up with zeros.
pub struct Panels<const LANES: usize> {
    rows: usize,
    pairs: usize,
    values: Vec<Pair>,
}

/// Two neighbouring entries of a row, the first in the low half.
pub(crate) type Pair = u32;

/// Rows of a tile: with [`WIDTH`] they take 28 of the 32 vector registers, and two hold weights.
pub(crate) const HEIGHT: usize = 14;

/// Columns of a tile: two vectors of sums.
pub(crate) const WIDTH: usize = 32;

/// What is multiplied from the left.
pub type Activations = Panels<HEIGHT>;

/// What is multiplied from the right, transposed.
pub type Weights = Panels<WIDTH>;

/// Pairs that are transposed together.
const BLOCK: usize = 16;

impl<const LANES: usize> Panels<LANES> {
    /// Rounds `matrix`, `rows` rows one after the other.
    ///
    /// # Panics
    /// If `matrix` is not made of that many rows of equal length.
    pub fn new(matrix: &[f32], rows: usize) -> Self {
        let cols = width(matrix, rows);
        Self::filled(rows, cols, |first, panel| {
            let end = rows.min(first + LANES);
            fill::<LANES>(panel, &matrix[first * cols..end * cols], cols);
        })
    }

    /// Rounds the transpose of `matrix`, which has `cols` rows: its columns become rows.
    ///
    /// # Panics
    /// If `matrix` is not made of that many rows of equal length.
    pub fn transposed(matrix: &[f32], cols: usize) -> Self {
        let rows = width(matrix, cols);
        Self::filled(rows, cols, |first, panel| fill_transposed::<LANES>(panel, matrix, rows, first))
    }

    /// `fill` gets every panel, all zeros, with the number of its first row.
    fn filled(rows: usize, cols: usize, fill: impl Fn(usize, &mut [Pair]) + Sync) -> Self {
        let pairs = cols.div_ceil(2);
        let mut values = vec![0; rows.div_ceil(LANES) * LANES * pairs];
        let panels = values.par_chunks_exact_mut((LANES * pairs).max(1)).enumerate();
        panels.for_each(|(i, panel)| fill(i * LANES, panel));
        Self { rows, pairs, values }
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of pairs of columns.
    pub(crate) fn pairs(&self) -> usize {
        self.pairs
    }

    /// The number of panels.
    pub(crate) fn count(&self) -> usize {
        self.rows.div_ceil(LANES)
    }

    /// `pairs` pairs from `first` on of panel `i`.
    pub(crate) fn part(&self, i: usize, first: usize, pairs: usize) -> &[[Pair; LANES]] {
        let start = i * self.pairs + first;
        &self.values.as_chunks::<LANES>().0[start..start + pairs]
    }
}

/// Length of the rows of `matrix`.
fn width(matrix: &[f32], rows: usize) -> usize {
    let width = matrix.len().checked_div(rows).unwrap_or(0);
    assert_eq!(matrix.len(), rows * width, "not {rows} rows of equal length");
    width
}

/// Rounds up to `LANES` rows of `cols` values into a panel.
fn fill<const LANES: usize>(panel: &mut [Pair], rows: &[f32], cols: usize) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        #[expect(unsafe_code, reason = "the compiler cannot see that the CPU has these instructions")]
        // SAFETY: it was just asked.
        return unsafe { fill_wide::<LANES>(panel, rows, cols) };
    }
    fill_inlined::<LANES>(panel, rows, cols);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn fill_wide<const LANES: usize>(panel: &mut [Pair], rows: &[f32], cols: usize) {
    fill_inlined::<LANES>(panel, rows, cols);
}

#[inline(always)]
fn fill_inlined<const LANES: usize>(panel: &mut [Pair], rows: &[f32], cols: usize) {
    let panel = panel.as_chunks_mut::<LANES>().0;
    for (block, lines) in panel.chunks_mut(BLOCK).enumerate() {
        let mut pairs = [[0; BLOCK]; LANES];
        for (pairs, row) in pairs.iter_mut().zip(rows.chunks_exact(cols)) {
            let rest = &row[2 * BLOCK * block..];
            if let Some(whole) = rest.first_chunk::<{ 2 * BLOCK }>() {
                round_block(whole, pairs);
            } else {
                let mut padded = [0.0; 2 * BLOCK];
                padded[..rest.len()].copy_from_slice(rest);
                round_block(&padded, pairs);
            }
        }
        for (p, line) in lines.iter_mut().enumerate() {
            (0..LANES).for_each(|lane| line[lane] = pairs[lane][p]);
        }
    }
}

/// Rounds up to `LANES` columns of a matrix of rows of length `width`, from column `first` on, into a panel.
fn fill_transposed<const LANES: usize>(panel: &mut [Pair], matrix: &[f32], width: usize, first: usize) {
    let lines = panel.as_chunks_mut::<LANES>().0.iter_mut().zip(matrix.chunks(2 * width));
    for (line, rows) in lines {
        let (low, high) = rows.split_at(width);
        line.iter_mut().zip(&low[first..]).for_each(|(pair, v)| *pair = rounded(*v) >> 16);
        line.iter_mut().zip(high.iter().skip(first)).for_each(|(pair, v)| *pair |= rounded(*v));
    }
}

#[inline(always)]
fn round_block(values: &[f32; 2 * BLOCK], pairs: &mut [Pair; BLOCK]) {
    (0..BLOCK).for_each(|p| pairs[p] = rounded(values[2 * p]) >> 16 | rounded(values[2 * p + 1]));
}

/// The nearest bf16, ties to even, in the high half of the bits; what is not a number stays that.
#[inline(always)]
fn rounded(value: f32) -> u32 {
    let bits = value.to_bits();
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    (if value.is_nan() { bits | 0x40_0000 } else { nearest }) & 0xffff_0000
}

/// The two numbers of a pair.
#[inline(always)]
pub(crate) fn unpacked(pair: Pair) -> [f32; 2] {
    [f32::from_bits(pair << 16), f32::from_bits(pair & 0xffff_0000)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_to_the_nearest_and_ties_to_even() {
        let round = |v: f32| f32::from_bits(rounded(v));
        // Eight bits: 1 + 1/128 is the next number above 1.
        assert_eq!(round(1.0 + 1.0 / 256.0), 1.0, "a tie, down to even");
        assert_eq!(round(1.0 + 3.0 / 256.0), 1.0 + 2.0 / 128.0, "a tie, up to even");
        assert_eq!(round(1.0 + 1.1 / 256.0), 1.0 + 1.0 / 128.0);
        assert_eq!(round(-3.0), -3.0);
        assert_eq!(round(f32::MAX), f32::INFINITY);
        assert_eq!(round(f32::NEG_INFINITY), f32::NEG_INFINITY);
        assert!(round(f32::NAN).is_nan() && round(f32::from_bits(0x7f80_0001)).is_nan());
    }

    #[test]
    fn panels_hold_every_entry_once_and_zeros_elsewhere() {
        for (rows, cols) in [(1, 1), (14, 32), (15, 33), (40, 70), (3, 0)] {
            let matrix: Vec<f32> = (1..=rows * cols).map(|v| v as f32 % 251.0 + 1.0).collect();
            let panels = Panels::<14>::new(&matrix, rows);
            assert_eq!((panels.rows(), panels.pairs(), panels.count()), (rows, cols.div_ceil(2), rows.div_ceil(14)));
            for row in 0..panels.count() * 14 {
                let lines = panels.part(row / 14, 0, panels.pairs());
                let entries = lines.iter().flat_map(|line| unpacked(line[row % 14]));
                for (col, entry) in entries.enumerate() {
                    let expected = if row < rows && col < cols { matrix[row * cols + col] } else { 0.0 };
                    assert_eq!(entry, expected, "{row} {col} of {rows} × {cols}");
                }
            }
            let turned: Vec<f32> = (0..rows * cols).map(|i| matrix[i % rows * cols + i / rows]).collect();
            assert_eq!(Panels::<14>::transposed(&turned, cols).values, panels.values);
        }
    }
}
