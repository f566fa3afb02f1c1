//! The residual stream of the whole token set between two blocks.

use std::path::Path;

use candle_core::Tensor;
use oops_artifact::{Split, TokenSet};
use oops_core::Result;
use oops_model::{Checkpoint, Decoder, load_tensors, save_tensors};

/// Sequences that go through a block together.
#[derive(Clone)]
pub(crate) struct Batch {
    /// The split that all of them belong to.
    pub(crate) split: Split,
    /// Index of each sequence in the token set.
    pub(crate) sequences: Vec<u32>,
    /// Tokens of each sequence.
    pub(crate) lengths: Vec<usize>,
    /// Residual stream, one row per token.
    pub(crate) x: Tensor,
}

/// Every `period`-th sequence is held out, spread evenly so that both splits see the whole text; 0 holds out none.
pub(crate) fn split_of(index: usize, period: usize) -> Split {
    if period > 0 && index % period == period - 1 { Split::Heldout } else { Split::Fit }
}

/// Embeds a token set into batches of at most `batch_tokens` tokens (at least one sequence each); none mixes splits.
pub(crate) fn embed(
    checkpoint: &Checkpoint,
    decoder: &Decoder,
    tokens: &TokenSet,
    period: usize,
    batch_tokens: usize,
) -> Result<Vec<Batch>> {
    let embedding = checkpoint.embedding()?;
    let mut batches = Vec::new();
    for split in Split::ALL {
        let mine = tokens.sequences.iter().enumerate().filter(|(i, _)| split_of(*i, period) == split);
        let mut ids: Vec<u32> = Vec::new();
        let mut members: Vec<(u32, usize)> = Vec::new();
        let mut flush = |ids: &mut Vec<u32>, members: &mut Vec<(u32, usize)>| -> Result<()> {
            if !ids.is_empty() {
                let x = decoder.embed(&embedding, ids)?;
                let (sequences, lengths) = std::mem::take(members).into_iter().unzip();
                batches.push(Batch { split, sequences, lengths, x });
                ids.clear();
            }
            Ok(())
        };
        for (i, sequence) in mine {
            if ids.len() + sequence.len() > batch_tokens {
                flush(&mut ids, &mut members)?;
            }
            ids.extend(sequence);
            members.push((i as u32, sequence.len()));
        }
        flush(&mut ids, &mut members)?;
    }
    Ok(batches)
}

/// Writes the residual stream as raw little-endian f32.
pub(crate) fn save(path: &Path, batches: &[Batch]) -> Result<()> {
    save_tensors(path, batches.iter().map(|b| &b.x))
}

/// Puts a saved residual stream back into batches of the same shape.
pub(crate) fn load(path: &Path, batches: &mut [Batch]) -> Result<()> {
    load_tensors(path, batches.iter_mut().map(|b| &mut b.x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sequence_in_ten_is_held_out() {
        let held: Vec<usize> = (0..64).filter(|&i| split_of(i, 10) == Split::Heldout).collect();
        assert_eq!(held, [9, 19, 29, 39, 49, 59]);
        assert!((0..64).all(|i| split_of(i, 0) == Split::Fit));
    }
}
