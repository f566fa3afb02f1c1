//! A column-major f64 matrix that the solvers own, gathered in parallel from whatever storage the caller has.

use faer::{MatMut, MatRef};
use rayon::prelude::*;

/// Columns that one task gathers: enough that a row of the source is read in runs, few enough to share the work.
const COLUMNS: usize = 32;

/// rows × columns, column-major.
#[derive(Clone)]
pub(crate) struct Dense {
    rows: usize,
    values: Vec<f64>,
    columns: usize,
}

impl Dense {
    /// The matrix entry(r, c) for r in `rows` and c in `columns`.
    pub(crate) fn gather(rows: &[usize], columns: &[usize], entry: impl Fn(usize, usize) -> f64 + Sync) -> Self {
        let m = rows.len();
        let mut values = vec![0.0; m * columns.len()];
        if m > 0 {
            let tasks = values.par_chunks_mut(m * COLUMNS).zip(columns.par_chunks(COLUMNS));
            tasks.for_each(|(block, columns)| {
                for (i, &r) in rows.iter().enumerate() {
                    columns.iter().enumerate().for_each(|(j, &c)| block[j * m + i] = entry(r, c));
                }
            });
        }
        Self { rows: m, values, columns: columns.len() }
    }

    /// The number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// The number of columns.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// The entry (i, j).
    pub(crate) fn get(&self, i: usize, j: usize) -> f64 {
        self.values[j * self.rows + i]
    }

    /// Column j.
    pub(crate) fn column(&self, j: usize) -> &[f64] {
        &self.values[j * self.rows..(j + 1) * self.rows]
    }

    /// Adds `value` to the diagonal of a square matrix.
    pub(crate) fn add_to_diagonal(&mut self, value: f64) {
        self.values.iter_mut().step_by(self.rows + 1).for_each(|v| *v += value);
    }

    /// Multiplies the diagonal of a square matrix by `factor`.
    pub(crate) fn scale_diagonal(&mut self, factor: f64) {
        self.values.iter_mut().step_by(self.rows + 1).for_each(|v| *v *= factor);
    }

    /// Whether every entry is finite.
    pub(crate) fn is_finite(&self) -> bool {
        self.values.par_iter().all(|v| v.is_finite())
    }

    /// As faer sees it.
    pub(crate) fn view(&self) -> MatRef<'_, f64> {
        MatRef::from_column_major_slice(&self.values, self.rows, self.columns)
    }

    /// As faer changes it.
    pub(crate) fn view_mut(&mut self) -> MatMut<'_, f64> {
        MatMut::from_column_major_slice_mut(&mut self.values, self.rows, self.columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gathers_by_rows_and_columns() {
        let columns: Vec<usize> = (0..70).collect();
        let mut a = Dense::gather(&[4, 2], &columns, |i, j| (100 * i + j) as f64);
        assert_eq!((a.rows(), a.columns(), a.get(1, 69), a.column(3)), (2, 70, 269.0, &[403.0, 203.0][..]));
        assert!(a.is_finite());
        a.view_mut()[(0, 0)] = f64::INFINITY;
        assert!(!a.is_finite());
    }
}
