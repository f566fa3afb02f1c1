//! A sparse matrix in compressed columns, built column after column.

/// rows × columns with the entries of each column in the order of their rows.
#[derive(Clone, Debug)]
pub struct Sparse {
    rows: usize,
    starts: Vec<usize>,
    indices: Vec<usize>,
    values: Vec<f64>,
}

impl Sparse {
    /// A matrix of `rows` rows and no columns yet.
    pub fn new(rows: usize) -> Self {
        Self { rows, starts: vec![0], indices: Vec::new(), values: Vec::new() }
    }

    /// A matrix from the (row, value) pairs of each column.
    pub fn from_columns<C: IntoIterator<Item = (usize, f64)>>(
        rows: usize,
        columns: impl IntoIterator<Item = C>,
    ) -> Self {
        let mut matrix = Self::new(rows);
        columns.into_iter().for_each(|c| matrix.push(c));
        matrix
    }

    /// The upper triangle of a symmetric n × n matrix, zeros included.
    pub fn upper(n: usize, entry: impl Fn(usize, usize) -> f64) -> Self {
        Self::from_columns(n, (0..n).map(|j| (0..=j).map(|i| (i, entry(i, j))).collect::<Vec<_>>()))
    }

    /// Appends a column of (row, value) pairs in ascending rows.
    pub fn push(&mut self, column: impl IntoIterator<Item = (usize, f64)>) {
        for (row, value) in column {
            self.indices.push(row);
            self.values.push(value);
        }
        self.starts.push(self.indices.len());
    }

    /// The same matrix as the upper left corner of a square one of size `n`.
    pub(crate) fn padded(mut self, n: usize) -> Self {
        self.rows = n;
        self.starts.resize(n + 1, self.indices.len());
        self
    }

    /// Whether the rows of every column ascend and exist.
    pub(crate) fn is_sound(&self) -> bool {
        self.starts.windows(2).all(|w| {
            let column = &self.indices[w[0]..w[1]];
            column.windows(2).all(|r| r[0] < r[1]) && column.last().is_none_or(|&r| r < self.rows)
        })
    }

    /// Rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.starts.len() - 1)
    }

    /// Where each column starts in the entries, and the number of entries.
    pub fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// The row of each entry.
    pub fn indices(&self) -> &[usize] {
        &self.indices
    }

    /// The value of each entry.
    pub fn values(&self) -> &[f64] {
        &self.values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_compressed() {
        let m = Sparse::upper(2, |i, j| (10 * i + j) as f64);
        assert_eq!((m.shape(), m.starts(), m.indices()), ((2, 2), &[0, 1, 3][..], &[0, 0, 1][..]));
        assert_eq!(m.values(), [0.0, 1.0, 11.0]);
        assert!(m.is_sound());
        assert!(!Sparse::from_columns(2, [vec![(1, 1.0), (0, 1.0)]]).is_sound());
        assert!(!Sparse::from_columns(2, [vec![(2, 1.0)]]).is_sound());
    }
}
