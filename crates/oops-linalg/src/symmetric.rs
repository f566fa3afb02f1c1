//! A borrowed symmetric matrix, whatever its storage: the solvers read it once, entry by entry, into f64.

use oops_core::{Fault, Result, bail_if};

/// Entries of the packed lower triangle of an n × n matrix.
pub fn packed_len(n: usize) -> usize {
    n * (n + 1) / 2
}

/// A symmetric n × n matrix in someone else's memory. Only the lower triangle is read.
#[derive(Clone, Copy, Debug)]
pub struct Symmetric<'a> {
    n: usize,
    entries: Entries<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Entries<'a> {
    Packed(&'a [f32]),
    Full(&'a [f32]),
    Double(&'a [f64]),
}

impl<'a> Symmetric<'a> {
    /// A packed lower triangle, row after row, n (n + 1) / 2 finite entries.
    pub fn packed(n: usize, entries: &'a [f32]) -> Result<Self> {
        check_len(n, entries.len(), packed_len(n))?;
        check_entries(entries.iter().all(|v| v.is_finite()))?;
        Ok(Self { n, entries: Entries::Packed(entries) })
    }

    /// A row-major n × n matrix, finite in its lower triangle.
    pub fn full(n: usize, entries: &'a [f32]) -> Result<Self> {
        check_len(n, entries.len(), n * n)?;
        check_entries((0..n).all(|i| entries[i * n..=i * n + i].iter().all(|v| v.is_finite())))?;
        Ok(Self { n, entries: Entries::Full(entries) })
    }

    /// A row-major n × n matrix in f64, finite in its lower triangle.
    pub fn double(n: usize, entries: &'a [f64]) -> Result<Self> {
        check_len(n, entries.len(), n * n)?;
        check_entries((0..n).all(|i| entries[i * n..=i * n + i].iter().all(|v| v.is_finite())))?;
        Ok(Self { n, entries: Entries::Double(entries) })
    }

    /// Row-major n × n of which the caller vouches for the length.
    pub(crate) fn lower_rows(n: usize, entries: &'a [f32]) -> Self {
        Self { n, entries: Entries::Full(entries) }
    }

    /// The size n.
    pub fn n(&self) -> usize {
        self.n
    }

    /// The entry (i, j).
    pub fn get(&self, i: usize, j: usize) -> f64 {
        let (i, j) = (i.max(j), i.min(j));
        match self.entries {
            Entries::Packed(h) => f64::from(h[packed_len(i) + j]),
            Entries::Full(h) => f64::from(h[i * self.n + j]),
            Entries::Double(h) => h[i * self.n + j],
        }
    }

    /// The mean of the diagonal over `channels`: the unit in which damping is measured. 0 for no channels.
    pub fn mean_diagonal(&self, channels: &[usize]) -> f64 {
        channels.iter().map(|&j| self.get(j, j)).sum::<f64>() / channels.len().max(1) as f64
    }

    /// Fails unless `channels` are sorted, distinct and below n.
    pub(crate) fn check_channels(&self, channels: &[usize]) -> Result<()> {
        let sorted = channels.windows(2).all(|w| w[0] < w[1]) && channels.last().is_none_or(|&j| j < self.n);
        bail_if(!sorted, || Fault::internal(format!("channels must be sorted, distinct and below {}", self.n)))
    }

    /// Which of the n channels are in `kept`.
    pub(crate) fn members(&self, kept: &[usize]) -> Vec<bool> {
        let mut is_kept = vec![false; self.n];
        for &j in kept {
            is_kept[j] = true;
        }
        is_kept
    }

    /// The channels that are not in the list `kept`.
    pub(crate) fn others(&self, kept: &[usize]) -> Vec<usize> {
        let is_kept = self.members(kept);
        (0..self.n).filter(|&j| !is_kept[j]).collect()
    }
}

fn check_entries(finite: bool) -> Result<()> {
    bail_if(!finite, || Fault::data("the matrix has an entry that is not finite"))
}

fn check_len(n: usize, found: usize, expected: usize) -> Result<()> {
    bail_if(found != expected, || {
        Fault::internal(format!("a symmetric matrix of size {n} needs {expected} entries, found {found}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_storages_read_alike() {
        let packed = Symmetric::packed(2, &[1.0, 2.0, 3.0]).unwrap();
        let full = Symmetric::full(2, &[1.0, 9.0, 2.0, 3.0]).unwrap();
        let double = Symmetric::double(2, &[1.0, 9.0, 2.0, 3.0]).unwrap();
        for h in [packed, full, double] {
            assert_eq!([h.get(0, 0), h.get(0, 1), h.get(1, 0), h.get(1, 1)], [1.0, 2.0, 2.0, 3.0]);
            assert_eq!(h.mean_diagonal(&[0, 1]), 2.0);
        }
        assert!(Symmetric::packed(2, &[0.0; 4]).is_err());
    }

    #[test]
    fn channel_lists_are_checked_and_complemented() {
        let h = Symmetric::packed(4, &[0.0; 10]).unwrap();
        assert_eq!(h.others(&[0, 2]), [1, 3]);
        assert!(h.check_channels(&[0, 2, 3]).is_ok());
        assert!([&[2, 1][..], &[1, 1], &[4]].iter().all(|c| h.check_channels(c).is_err()));
    }
}
