//! The residual streams of a token set between two blocks, one tensor per sequence, and which sequences only judge.

use candle_core::Tensor;
use oops_artifact::{TokenSet, holds_out, is_heldout};
use oops_core::{Fault, Result, bail_if};
use oops_model::{Block, Checkpoint, Decoder, Shelf};
use oops_stage::Cx;

/// Indices of the sequences that are trained on, and of those that only judge.
pub(crate) struct Split {
    pub(crate) fit: Vec<usize>,
    pub(crate) heldout: Vec<usize>,
}

impl Split {
    /// Holds out every 1/`fraction`-th sequence, so that both parts see the whole text.
    pub(crate) fn new(sequences: usize, fraction: f64) -> Result<Self> {
        let period = Self::period(sequences, fraction)?;
        let (heldout, fit) = (0..sequences).partition(|i| is_heldout(*i, period));
        Ok(Self { fit, heldout })
    }

    /// Every how many sequences one is held out; checked without making lists, whose length a pipeline file may say.
    pub(crate) fn period(sequences: usize, fraction: f64) -> Result<usize> {
        let period = ((1.0 / fraction).round() as usize).max(1);
        bail_if(!holds_out(sequences, period), || {
            Fault::data(format!("{sequences} sequences, but every {period}th is needed to judge"))
                .help("use more sequences or a larger `heldout_fraction`")
        })?;
        Ok(period)
    }
}

/// The embeddings of a token set: `[T, hidden]` for each sequence. They lie in the file `name` if the run spills.
pub(crate) fn embed(
    checkpoint: &Checkpoint,
    decoder: &Decoder,
    tokens: &TokenSet,
    name: &str,
    cx: &Cx<'_>,
) -> Result<Shelf> {
    let embedding = checkpoint.embedding()?;
    let mut shelf = Shelf::new(cx.spill_file(name))?;
    tokens.sequences.iter().try_for_each(|ids| shelf.push(decoder.embed(&embedding, ids)?))?;
    Ok(shelf)
}

/// `block` on one sequence: what it gives then never depends on its neighbours.
pub(crate) fn through(decoder: &Decoder, block: &Block, x: &Tensor) -> Result<Tensor> {
    decoder.block(block, x, &[x.dims()[0]], &mut |_, _| Ok(()))
}

/// Puts what `block` gives for every sequence of `from` on the shelf `to`; without `from`, of `to` itself.
pub(crate) fn advance(decoder: &Decoder, block: &Block, from: Option<&Shelf>, to: &mut Shelf) -> Result<()> {
    (0..to.len()).try_for_each(|i| to.set(i, through(decoder, block, &from.unwrap_or(to).get(i)?)?))
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

    #[test]
    fn the_check_costs_nothing_for_any_number_that_a_pipeline_may_say() {
        assert_eq!(Split::period(usize::MAX, 0.1).unwrap(), 10);
        assert!(Split::period(9, 0.1).is_err());
    }
}
