//! Rows of a batch taken apart by what they are for.

use std::borrow::Cow;

use crate::Split;

/// Rows that are copied out at once: bounds the memory of copies.
const CHUNK: usize = 1024;

/// What each row of a batch is for: [`Split::Heldout`] if it judges, [`Split::Fit`] otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows(Vec<(Split, Option<Vec<usize>>)>);

/// Rows of a batch that are for one thing.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a>(Option<&'a [usize]>);

impl Rows {
    /// Of a batch whose rows judge or not.
    pub fn new(judges: &[bool]) -> Self {
        let judging = judges.iter().filter(|&&j| j).count();
        if judging == 0 || judging == judges.len() {
            return Self(vec![(if judging == 0 { Split::Fit } else { Split::Heldout }, None)]);
        }
        let mine = |split| (0..judges.len()).filter(move |&i| judges[i] == (split == Split::Heldout));
        let chunks = |split| {
            let all: Vec<usize> = mine(split).collect();
            all.chunks(CHUNK).map(|rows| (split, Some(rows.to_vec()))).collect::<Vec<_>>()
        };
        Self(Split::ALL.into_iter().flat_map(chunks).collect())
    }

    /// The rows in parts, each of one split; all of them together where they are of one split.
    pub fn parts(&self) -> impl Iterator<Item = (Split, Part<'_>)> {
        self.0.iter().map(|(split, rows)| (*split, Part(rows.as_deref())))
    }
}

impl Part<'_> {
    /// The part's rows of `x`, which has all rows of the batch, `width` values each.
    pub fn of(self, x: &[f32], width: usize) -> Cow<'_, [f32]> {
        let row = |&i: &usize| &x[i * width..(i + 1) * width];
        self.0.map_or(Cow::Borrowed(x), |rows| rows.iter().flat_map(row).copied().collect::<Vec<_>>().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_apart_by_split_and_each_once() {
        let x = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
        let rows = Rows::new(&[true, false, true]);
        let parts: Vec<_> = rows.parts().map(|(split, part)| (split, part.of(&x, 2).into_owned())).collect();
        assert_eq!(parts, [(Split::Fit, vec![2.0, 3.0]), (Split::Heldout, vec![0.0, 1.0, 4.0, 5.0])]);
        let one = |judges| Rows::new(judges).parts().map(|(s, p)| (s, p.of(&x, 3).len())).collect::<Vec<_>>();
        assert_eq!(one(&[true; 2]), [(Split::Heldout, 6)]);
        assert_eq!(one(&[false; 2]), [(Split::Fit, 6)]);
    }

    #[test]
    fn copies_are_bounded() {
        let judges: Vec<bool> = (0..3 * CHUNK).map(|i| i % 3 == 0).collect();
        let x: Vec<f32> = (0..judges.len()).map(|i| i as f32).collect();
        let rows = Rows::new(&judges);
        let parts: Vec<_> = rows.parts().map(|(s, p)| (s, p.of(&x, 1).into_owned())).collect();
        assert_eq!(parts.iter().map(|(_, p)| p.len()).collect::<Vec<_>>(), [CHUNK, CHUNK, CHUNK]);
        let mut all: Vec<f32> = parts.into_iter().flat_map(|(_, p)| p).collect();
        all.sort_by(f32::total_cmp);
        assert!(all.iter().zip(&x).all(|(a, b)| a.total_cmp(b).is_eq()), "every row once");
    }
}
