//! The order in which sequences are trained on.

use oops_core::Rng;

/// Splits shuffled `sequences` (given as index and length) into batches of at most `batch` sequences of one length, and
/// shuffles the batches.
pub(crate) fn epoch(sequences: &[(usize, usize)], batch: usize, rng: &mut Rng) -> Vec<Vec<usize>> {
    let mut shuffled = sequences.to_vec();
    shuffle(&mut shuffled, rng);
    // Stable, so sequences of one length stay in their random order.
    shuffled.sort_by_key(|s| s.1);
    let same_length = shuffled.chunk_by(|a, b| a.1 == b.1);
    let mut batches: Vec<Vec<usize>> =
        same_length.flat_map(|c| c.chunks(batch)).map(|c| c.iter().map(|s| s.0).collect()).collect();
    shuffle(&mut batches, rng);
    batches
}

/// Fisher and Yates.
fn shuffle<T>(items: &mut [T], rng: &mut Rng) {
    (1..items.len()).rev().for_each(|i| items.swap(i, rng.below(i + 1)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sequence_comes_once_and_no_batch_mixes_lengths() {
        let sequences: Vec<(usize, usize)> = (0..11).map(|i| (i, if i % 3 == 0 { 5 } else { 8 })).collect();
        let batches = epoch(&sequences, 2, &mut Rng::new(1, "a"));
        let mut seen = batches.concat();
        assert_ne!(seen, (0..11).collect::<Vec<_>>());
        seen.sort_unstable();
        assert_eq!(seen, (0..11).collect::<Vec<_>>());
        assert_eq!(batches.len(), 2 + 4);
        assert!(batches.iter().all(|b| b.iter().all(|i| (i % 3 == 0) == (b[0] % 3 == 0))));
        assert_eq!(batches, epoch(&sequences, 2, &mut Rng::new(1, "a")));
        assert_ne!(batches, epoch(&sequences, 2, &mut Rng::new(2, "a")));
    }
}
