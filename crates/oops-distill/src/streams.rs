//! The residual streams of a token set between two blocks, one tensor per sequence, and which sequences only judge.

use candle_core::Tensor;
use oops_artifact::TokenSet;
use oops_core::{Fault, Result, bail_if};
use oops_model::{Block, Checkpoint, Decoder};

/// Indices of the sequences that are trained on, and of those that only judge.
pub(crate) struct Split {
    pub(crate) fit: Vec<usize>,
    pub(crate) heldout: Vec<usize>,
}

impl Split {
    /// Holds out every 1/`fraction`-th sequence, so that both parts see the whole text.
    pub(crate) fn new(sequences: usize, fraction: f64) -> Result<Self> {
        let period = (1.0 / fraction).round() as usize;
        let (heldout, fit): (Vec<_>, Vec<_>) = (0..sequences).partition(|i| i % period == period - 1);
        bail_if(heldout.is_empty(), || {
            Fault::data(format!("{sequences} sequences, but every {period}th is needed to judge"))
                .help("use more sequences or a larger `heldout_fraction`")
        })?;
        Ok(Self { fit, heldout })
    }
}

/// The embeddings of a token set: `[T, hidden]` for each sequence.
pub(crate) fn embed(checkpoint: &Checkpoint, decoder: &Decoder, tokens: &TokenSet) -> Result<Vec<Tensor>> {
    let embedding = checkpoint.embedding()?;
    tokens.sequences.iter().map(|ids| decoder.embed(&embedding, ids)).collect()
}

/// `block` on every sequence of `x`, one at a time: what a sequence gives then never depends on its neighbours.
pub(crate) fn advance(decoder: &Decoder, block: &Block, x: &[Tensor]) -> Result<Vec<Tensor>> {
    x.iter().map(|x| decoder.block(block, x, &[x.dims()[0]], &mut |_, _| Ok(()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sequence_in_ten_judges_and_a_small_set_is_refused() {
        let split = Split::new(25, 0.1).unwrap();
        assert_eq!((split.heldout, split.fit.len()), (vec![9, 19], 23));
        assert!(Split::new(9, 0.1).is_err());
    }
}
