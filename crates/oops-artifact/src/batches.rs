//! Sequences of a token set packed into batches, the held-out ones apart.

use crate::{Heldout, Split, TokenSet};

/// Sequences that go through a model together.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenBatch {
    /// The split that all of them belong to.
    pub split: Split,
    /// Index of each sequence in the token set.
    pub sequences: Vec<u32>,
    /// Tokens of each sequence.
    pub lengths: Vec<usize>,
    /// Tokens of all sequences, one after the other.
    pub ids: Vec<u32>,
    /// Whether each of these tokens judges ([`Heldout`]).
    pub judges: Vec<bool>,
}

impl TokenSet {
    /// Batches of at most `most` tokens (at least one sequence each) in the order of the set, first all that are fitted on.
    /// Held-out sequences are spread evenly, so that both splits see the whole text.
    pub fn batches(&self, heldout: &Heldout, most: usize) -> Vec<TokenBatch> {
        let mut batches: Vec<TokenBatch> = Vec::new();
        for split in Split::ALL {
            let mine =
                self.sequences.iter().enumerate().filter(|(i, _)| heldout.holds_out(*i) == (split == Split::Heldout));
            for (i, sequence) in mine {
                let judging = heldout.judges(i, sequence.len());
                let room = |b: &&mut TokenBatch| b.split == split && b.ids.len() + sequence.len() <= most;
                if let Some(batch) = batches.last_mut().filter(room) {
                    batch.sequences.push(i as u32);
                    batch.lengths.push(sequence.len());
                    batch.ids.extend(sequence);
                    batch.judges.extend(judging);
                } else {
                    let (sequences, lengths) = (vec![i as u32], vec![sequence.len()]);
                    batches.push(TokenBatch { split, sequences, lengths, ids: sequence.clone(), judges: judging });
                }
            }
        }
        batches
    }
}

/// Whether [`TokenSet::batches`] holds out any of `sequences` sequences.
pub fn holds_out(sequences: usize, period: usize) -> bool {
    period > 0 && sequences >= period
}

/// Whether the sequence at `index` is held out where every `period`-th is.
pub fn is_heldout(index: usize, period: usize) -> bool {
    period > 0 && index % period == period - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(lengths: &[usize]) -> TokenSet {
        TokenSet::of(lengths.iter().enumerate().map(|(i, &n)| vec![i as u32; n]).collect(), lengths.len())
    }

    #[test]
    fn the_first_that_is_held_out_is_number_period() {
        for (sequences, period) in [(0, 3), (2, 3), (3, 3), (4, 3), (1, 1), (5, 0)] {
            let any = (0..sequences).any(|i| is_heldout(i, period));
            assert_eq!(holds_out(sequences, period), any, "{sequences} {period}");
        }
    }

    #[test]
    fn batches_are_full_and_of_one_split() {
        let set = set(&[2, 3, 9, 4, 1, 5]);
        let batches = set.batches(&Heldout::of(&set, 3), 5);
        let found: Vec<_> = batches.iter().map(|b| (b.split, b.sequences.clone())).collect();
        // 2 is longer than a batch may be and 5 fills one; both are held out.
        let expected =
            [(Split::Fit, vec![0, 1]), (Split::Fit, vec![3, 4]), (Split::Heldout, vec![2]), (Split::Heldout, vec![5])];
        assert_eq!(found, expected);
        assert_eq!((&batches[1].lengths[..], &batches[1].ids[..]), (&[4, 1][..], &[3, 3, 3, 3, 4][..]));
    }

    #[test]
    fn one_in_ten_is_held_out_or_none() {
        let held = |period| -> Vec<u32> {
            let set = set(&[1; 64]);
            let batches = set.batches(&Heldout::of(&set, period), 7);
            batches.into_iter().filter(|b| b.split == Split::Heldout).flat_map(|b| b.sequences).collect()
        };
        assert_eq!(held(10), [9, 19, 29, 39, 49, 59]);
        assert!(held(0).is_empty());
    }
}
