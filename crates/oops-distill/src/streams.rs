//! The residual streams of a token set between two blocks, one tensor per sequence, and which sequences only judge.

use candle_core::Tensor;
use oops_artifact::{Heldout, TokenSet, holds_out};
use oops_core::{Fault, Result, bail_if};
use oops_model::{Block, Checkpoint, Decoder, Shelf};
use oops_stage::Cx;

/// Indices of the sequences that are trained on, and of those with tokens that only judge.
pub(crate) struct Split {
    pub(crate) fit: Vec<usize>,
    pub(crate) heldout: Vec<usize>,
    /// Whether each token of each of [`Self::heldout`] judges.
    pub(crate) judges: Vec<Vec<bool>>,
    /// Tokens of held-out sequences that do not judge, since sequences that are trained on hold them too.
    pub(crate) leaked: usize,
}

impl Split {
    /// Holds out every 1/`fraction`-th sequence, so that both parts see the whole text. Fails if too few tokens are left to
    /// judge by.
    pub(crate) fn new(tokens: &TokenSet, fraction: f64) -> Result<Self> {
        let heldout = Heldout::of(tokens, Self::period(tokens.sequences.len(), fraction)?);
        if let Some(lack) = heldout.counts().lack() {
            return Err(Fault::data(lack).help("the weights to keep are chosen by held-out tokens, so some are needed"));
        }
        let sequences = 0..tokens.sequences.len();
        let fit = sequences.clone().filter(|&i| !heldout.holds_out(i)).collect();
        let judges = |i: usize| heldout.judges(i, tokens.sequences[i].len());
        let judging = sequences.map(|i| (i, judges(i))).filter(|(_, judges)| judges.contains(&true));
        let (held, judges) = judging.unzip();
        Ok(Self { fit, heldout: held, judges, leaked: heldout.counts().leaked })
    }

    /// Tokens that judge.
    pub(crate) fn judging(&self) -> usize {
        self.judges.iter().flatten().filter(|&&j| j).count()
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
    use crate::testkit::token_set;

    #[test]
    fn one_sequence_in_ten_judges_and_a_small_set_is_refused() {
        let set = |n: u32| token_set((0..n).map(|i| (100 * i..100 * (i + 1)).collect()).collect());
        let split = Split::new(&set(25), 0.1).unwrap();
        assert_eq!((&split.heldout[..], split.fit.len(), split.judging()), (&[9, 19][..], 23, 200));
        assert!(Split::new(&set(9), 0.1).is_err());
    }

    #[test]
    fn what_is_trained_on_does_not_judge() {
        let mut sequences: Vec<Vec<u32>> = (0..20).map(|i| (100 * i..100 * (i + 1)).collect()).collect();
        sequences[9][..40].copy_from_slice(&(300..340).collect::<Vec<u32>>());
        let split = Split::new(&token_set(sequences.clone()), 0.1).unwrap();
        assert_eq!((split.leaked, split.judging()), (40, 160));
        assert!(!split.judges[0][39] && split.judges[0][40]);
        (sequences[9], sequences[19]) = (sequences[0].clone(), sequences[1].clone());
        let error = Split::new(&token_set(sequences), 0.1).err().unwrap();
        assert!(error.what().contains("of 200 held-out tokens 200 are in fitted sequences"), "{error}");
    }

    #[test]
    fn the_check_costs_nothing_for_any_number_that_a_pipeline_may_say() {
        assert_eq!(Split::period(usize::MAX, 0.1).unwrap(), 10);
        assert!(Split::period(9, 0.1).is_err());
    }
}
