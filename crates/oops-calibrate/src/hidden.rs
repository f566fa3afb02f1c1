//! The residual stream of the whole token set between two blocks.

use std::{fs, io::Write as _, path::Path};

use candle_core::Tensor;
use oops_artifact::{Split, TokenSet};
use oops_core::{Fault, Result, bail_if};
use oops_model::{Checkpoint, Decoder, matrix, with_values};

/// Sequences that go through a block together.
pub(crate) struct Batch {
    /// The split that all of them belong to.
    pub(crate) split: Split,
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
        let mut lengths = Vec::new();
        let mut flush = |ids: &mut Vec<u32>, lengths: &mut Vec<usize>| -> Result<()> {
            if !ids.is_empty() {
                let x = decoder.embed(&embedding, ids)?;
                batches.push(Batch { split, lengths: std::mem::take(lengths), x });
                ids.clear();
            }
            Ok(())
        };
        for (_, sequence) in mine {
            if ids.len() + sequence.len() > batch_tokens {
                flush(&mut ids, &mut lengths)?;
            }
            ids.extend(sequence);
            lengths.push(sequence.len());
        }
        flush(&mut ids, &mut lengths)?;
    }
    Ok(batches)
}

/// Writes the residual stream as raw little-endian f32.
pub(crate) fn save(path: &Path, batches: &[Batch]) -> Result<()> {
    let fault = |e: std::io::Error| Fault::writing(path, &e);
    let mut file = fs::File::create(path).map_err(fault)?;
    batches.iter().try_for_each(|b| with_values(&b.x, |v| file.write_all(bytemuck::cast_slice(v)).map_err(fault))?)
}

/// Puts a saved residual stream back into batches of the same shape.
pub(crate) fn load(path: &Path, batches: &mut [Batch]) -> Result<()> {
    let bytes = fs::read(path).map_err(|e| Fault::reading(path, &e))?;
    let mut rest = &bytes[..];
    for b in batches {
        let (rows, cols) = b.x.dims2().map_err(|e| Fault::internal(format!("residual stream: {e}")))?;
        bail_if(rest.len() < rows * cols * 4, || Fault::data("checkpoint is short").at(path.display()))?;
        let (mine, others) = rest.split_at(rows * cols * 4);
        b.x = matrix(bytemuck::pod_collect_to_vec(mine), rows, cols)?;
        rest = others;
    }
    Ok(())
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

    #[test]
    fn the_residual_stream_survives_a_file() {
        let path = std::env::temp_dir().join(format!("oops-hidden-{}.bin", std::process::id()));
        let batch = |v: Vec<f32>| Batch { split: Split::Fit, lengths: vec![2], x: matrix(v, 2, 2).unwrap() };
        save(&path, &[batch(vec![1.0, 2.0, 3.0, 4.0]), batch(vec![5.0, 6.0, 7.0, -8.5])]).unwrap();
        let mut back = [batch(vec![0.0; 4]), batch(vec![0.0; 4])];
        load(&path, &mut back).unwrap();
        assert_eq!(oops_model::values(&back[1].x).unwrap(), [5.0, 6.0, 7.0, -8.5]);
        fs::remove_file(path).unwrap();
    }
}
