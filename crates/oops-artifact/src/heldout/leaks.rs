//! Finds held-out tokens that fitted sequences hold too.

use std::collections::HashMap;

use super::RUN;
use crate::{TokenSet, is_heldout};

/// Whether each token of each held-out sequence is in no fitted one, by the three rules of the module above; nothing for
/// a fitted sequence.
pub(super) fn unleaked(set: &TokenSet, period: usize) -> Vec<Vec<bool>> {
    let held = |i: usize| is_heldout(i, period);
    let (heldout, fitted): (Vec<usize>, Vec<usize>) = (0..set.sequences.len()).partition(|&i| held(i));
    let mut judges: Vec<Vec<bool>> =
        set.sequences.iter().enumerate().map(|(i, s)| vec![true; if held(i) { s.len() } else { 0 }]).collect();
    if !heldout.is_empty() {
        by_place(set, &fitted, &heldout, &mut judges);
        by_start(set, &fitted, &heldout, &mut judges);
        by_content(set, &fitted, &heldout, &mut judges);
    }
    judges
}

/// Tokens of a sequence that are of the text: all but a BOS token.
fn text(set: &TokenSet, i: usize) -> &[u32] {
    let sequence = &set.sequences[i];
    &sequence[usize::from(set.info.bos).min(sequence.len())..]
}

/// Rule 1: places that a fitted sequence covers.
fn by_place(set: &TokenSet, fitted: &[usize], heldout: &[usize], judges: &mut [Vec<bool>]) {
    let mut starts: Vec<(usize, usize)> = fitted.iter().map(|&i| (set.offsets[i] as usize, i)).collect();
    starts.sort_unstable();
    let longest = fitted.iter().map(|&i| text(set, i).len()).max().unwrap_or(0);
    for &h in heldout {
        let (mine, start) = (text(set, h), set.offsets[h] as usize);
        let end = start.saturating_add(mine.len());
        let skipped = set.sequences[h].len() - mine.len();
        let first = starts.partition_point(|s| s.0.saturating_add(longest) <= start);
        for &(other, i) in starts[first..].iter().take_while(|s| s.0 < end) {
            let theirs = text(set, i);
            let (from, to) = (start.max(other), end.min(other.saturating_add(theirs.len())));
            if from < to && mine[from - start..to - start] == theirs[from - other..to - other] {
                judges[h][skipped + from - start..skipped + to - start].fill(false);
            }
        }
    }
}

/// Rule 3: the longest start that is a fitted sequence's, too. In lexical order it is shared with a neighbour.
fn by_start(set: &TokenSet, fitted: &[usize], heldout: &[usize], judges: &mut [Vec<bool>]) {
    let mut sorted: Vec<&[u32]> = fitted.iter().map(|&i| set.sequences[i].as_slice()).collect();
    sorted.sort_unstable();
    for &h in heldout {
        let mine = set.sequences[h].as_slice();
        let place = sorted.partition_point(|s| *s < mine);
        let neighbours = sorted[place.saturating_sub(1)..].iter().take(2);
        let shared = |s: &&[u32]| s.iter().zip(mine).take_while(|(a, b)| a == b).count();
        judges[h][..neighbours.map(shared).max().unwrap_or(0)].fill(false);
    }
}

/// Rule 2: runs that occur in a fitted sequence. Fitted sequences are read once for each length of run, and there is one
/// such length unless held-out sequences are shorter than [`RUN`].
fn by_content(set: &TokenSet, fitted: &[usize], heldout: &[usize], judges: &mut [Vec<bool>]) {
    let mut runs: HashMap<usize, Index> = HashMap::new();
    let mut lengths = Vec::new();
    for &h in heldout {
        let mine = text(set, h);
        let run = mine.len().min(RUN);
        if run > 0 {
            lengths.push(run);
            let index = runs.entry(run).or_default();
            hashes(mine, run).for_each(|(at, hash)| index.entry(hash).or_default().push((h, at)));
        }
    }
    lengths.sort_unstable();
    lengths.dedup();
    for run in lengths {
        let Some(mut index) = runs.remove(&run) else { continue };
        for &i in fitted {
            let theirs = text(set, i);
            for (at, hash) in hashes(theirs, run) {
                let Some(places) = index.get_mut(&hash) else { continue };
                // What is found once need not be found again; what only has the same hash stays.
                places.retain(|&(h, place)| {
                    let (mine, skipped) = (text(set, h), set.sequences[h].len() - text(set, h).len());
                    let same = mine[place..place + run] == theirs[at..at + run];
                    if same {
                        judges[h][skipped + place..skipped + place + run].fill(false);
                    }
                    !same
                });
            }
        }
    }
}

/// Where runs of one length are, by their hash: sequence and place in its text.
type Index = HashMap<u64, Vec<(usize, usize)>>;

/// Place and hash of every run of `run` tokens: Σ (t_i + 1)·B^(run − 1 − i) mod 2⁶⁴, rolled along.
fn hashes(tokens: &[u32], run: usize) -> impl Iterator<Item = (usize, u64)> {
    const B: u64 = 0x9E37_79B9_7F4A_7C15;
    let digit = |t: u32| u64::from(t) + 1;
    let top = (0..run).fold(1, |power: u64, _| power.wrapping_mul(B));
    let mut hash = 0u64;
    (0..tokens.len()).filter_map(move |i| {
        hash = hash.wrapping_mul(B).wrapping_add(digit(tokens[i]));
        if i >= run {
            hash = hash.wrapping_sub(top.wrapping_mul(digit(tokens[i - run])));
        }
        (i + 1 >= run).then(|| (i + 1 - run, hash))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rolled_hash_is_that_of_the_run() {
        let tokens: Vec<u32> = (0..50).map(|i| i * i % 17).collect();
        for run in [1, 5, 32, 50] {
            for (at, hash) in hashes(&tokens, run) {
                assert_eq!(hashes(&tokens[at..at + run], run).next(), Some((0, hash)));
            }
            assert_eq!(hashes(&tokens, run).count(), 51 - run);
        }
        assert_eq!(hashes(&tokens, 51).count(), 0);
    }
}
