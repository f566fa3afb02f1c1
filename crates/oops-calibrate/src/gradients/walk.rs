//! The way forward through all blocks and back. Every step leaves a checkpoint, so a killed run goes on where it was.
//!
//! Forward: `input-LLL.bin` is the residual stream at block LLL's input; the last one is what the head reads. Backward:
//! `gradient-LLL.bin` is the loss's gradient there, written after block LLL's results; then the input is dropped.

use oops_artifact::{Heldout, TokenSet, curvature_file, gradients_file, sequence_gradients_file, write_losses};
use oops_core::{Fault, Result, Site, UnitKind, bail_if};
use oops_model::{Checkpoint, Decoder, TensorReader};
use oops_stage::{Cx, Workdir, timed};
use serde::Serialize;

pub(super) use oops_artifact::LOSSES;

use super::{Params, sums::Collector};
use crate::hidden::{self, Batch, Passage};

/// Seconds spent in the parts of the pass.
#[derive(Default, Serialize)]
pub(super) struct Clock {
    /// Reading weights.
    load: f64,
    /// Blocks, forward.
    pub(super) forward: f64,
    /// Head, its loss and the gradient of both.
    head: f64,
    /// Blocks, backward.
    backward: f64,
    /// Sums over tokens.
    sums: f64,
    /// Checkpoints and results, read and written.
    files: f64,
}

/// Everything that a pass works on.
pub(super) struct Walk<'a> {
    params: &'a Params,
    checkpoint: &'a Checkpoint,
    tokens: &'a TokenSet,
    cx: &'a Cx<'a>,
    decoder: Decoder,
    /// The embedded tokens' file, until it is known whether it is needed.
    embedded: Option<Passage<'a>>,
    /// The residual stream at one block's input.
    stream: Vec<Batch>,
    /// The gradient of Σ_b L_b, at another.
    gradient: Vec<Batch>,
    pub(super) clock: Clock,
}

/// Checkpoint of the residual stream at the input of `block`.
fn input(block: usize) -> String {
    Workdir::state(&format!("input-{block:03}.bin"))
}

/// Checkpoint of the gradient at the input of `block`.
fn gradient(block: usize) -> String {
    Workdir::state(&format!("gradient-{block:03}.bin"))
}

impl<'a> Walk<'a> {
    /// Embeds the tokens.
    pub(super) fn new(
        params: &'a Params,
        checkpoint: &'a Checkpoint,
        tokens: &'a TokenSet,
        cx: &'a Cx<'a>,
    ) -> Result<Self> {
        let longest = tokens.sequences.iter().map(Vec::len).max().unwrap_or(0);
        let decoder = Decoder::new(checkpoint.config(), longest)?.computing(params.compute_dtype);
        let mut embedded = Passage::open(cx, None, input(0))?;
        let mut keep = |batch: &mut Batch| embedded.keep(batch);
        let heldout = Heldout::of(tokens, 0);
        let sizes = (&heldout, params.batch_tokens);
        let stream = hidden::embed(checkpoint, &decoder, tokens, sizes, params.stream_dtype, &mut keep)?;
        let (mut gradient, embedded, clock) = (stream.clone(), Some(embedded), Clock::default());
        gradient.iter_mut().try_for_each(Batch::clear)?;
        Ok(Self { params, checkpoint, tokens, cx, decoder, embedded, stream, gradient, clock })
    }

    /// Goes all the way, or what is left of it.
    pub(super) fn run(&mut self) -> Result<()> {
        let blocks = self.checkpoint.config().dims.blocks.len();
        let left = self.left(blocks);
        self.cx.progress.begin(2 * blocks as u64 + 1, "block passes");
        self.forward(left.map_or(blocks + 1, |left| left), blocks)?;
        // From here on, batches are read from their checkpoints.
        self.stream.iter_mut().try_for_each(Batch::clear)?;
        match left {
            None => self.head(blocks)?,
            Some(0) => {}
            Some(left) => hidden::load(self.cx, &gradient(left), &mut self.gradient)?,
        }
        let left = left.unwrap_or(blocks);
        self.cx.progress.advance((blocks - left) as u64 + 1);
        for l in (0..left).rev() {
            self.cx.check_cancelled()?;
            self.backward(l).map_err(|f| f.at(format!("block {l}, backward")))?;
            self.cx.progress.advance(1);
        }
        Ok(())
    }

    /// Blocks that the way back still has to visit; `None` if it has not begun.
    fn left(&self, blocks: usize) -> Option<usize> {
        let work = &self.cx.work;
        let rows = |l: usize| {
            !self.params.per_sequence
                || UnitKind::ALL.into_iter().all(|kind| work.is_done(&sequence_gradients_file(l, kind)))
        };
        let curvature = |l: usize| Site::ALL.into_iter().all(|site| work.is_done(&curvature_file(l, site)));
        let whole =
            |l: &usize| work.is_done(&gradients_file(*l)) && rows(*l) && (!self.params.curvature || curvature(*l));
        let finished = (0..blocks).rev().take_while(whole).count();
        if !work.is_done(LOSSES) {
            return None;
        }
        // Behind block 0 there is no gradient to keep.
        (blocks - finished..=blocks).find(|&l| l == 0 || work.is_done(&gradient(l)))
    }

    /// Makes the inputs of blocks `0..needed` (that of block `blocks` is the last residual stream).
    fn forward(&mut self, needed: usize, blocks: usize) -> Result<()> {
        let embedded = self.embedded.take();
        let ready = (0..needed).take_while(|&l| self.cx.work.is_done(&input(l))).count();
        self.cx.progress.advance(if needed == ready { blocks } else { ready.saturating_sub(1) } as u64);
        match (ready.checked_sub(1), embedded) {
            (None, Some(embedded)) if needed > 0 => embedded.publish()?,
            (_, embedded) => embedded.into_iter().for_each(Passage::discard),
        }
        if needed == ready {
            return Ok(());
        }
        if let Some(last) = ready.checked_sub(1) {
            hidden::load(self.cx, &input(last), &mut self.stream)?;
        }
        for l in ready.saturating_sub(1)..needed - 1 {
            self.cx.check_cancelled()?;
            let block = timed(&mut self.clock.load, || self.checkpoint.block(l))?;
            let mut passage = Passage::open(self.cx, Some(&input(l)), input(l + 1))?;
            for batch in &mut self.stream {
                self.cx.check_cancelled()?;
                let x = timed(&mut self.clock.files, || passage.fetch(batch))?;
                let step = || self.decoder.block(&block, &x, &batch.lengths, &mut |_, _| Ok(()));
                let rows = timed(&mut self.clock.forward, step).map_err(|f| f.at(format!("block {l}")))?;
                timed(&mut self.clock.files, || passage.store(batch, &rows))?;
            }
            timed(&mut self.clock.files, || passage.publish())?;
            self.cx.progress.advance(1);
        }
        self.cx.progress.advance((blocks - (needed - 1)) as u64);
        Ok(())
    }

    /// Losses of all sequences, and their gradient at the last residual stream.
    fn head(&mut self, blocks: usize) -> Result<()> {
        let mut inputs = TensorReader::open(&self.cx.work.path(&input(blocks)))?;
        let mut passage = Passage::open(self.cx, None, gradient(blocks))?;
        let norm = self.checkpoint.final_norm()?;
        let head = timed(&mut self.clock.load, || self.checkpoint.head())?;
        let (mut losses, mut sequences) = (Vec::new(), self.tokens.sequences.iter());
        for (batch, gradient) in self.stream.iter_mut().zip(&mut self.gradient) {
            self.cx.check_cancelled()?;
            timed(&mut self.clock.files, || batch.fetch(&mut inputs))?;
            let ids: Vec<u32> = sequences.by_ref().take(batch.lengths.len()).flatten().copied().collect();
            let x = batch.rows()?;
            let step = || self.decoder.next_token_grad(&norm, &head, &x, &ids, &batch.lengths);
            let (loss, rows) = timed(&mut self.clock.head, step)?;
            batch.clear()?;
            timed(&mut self.clock.files, || passage.store(gradient, &rows))?;
            losses.extend(loss);
        }
        inputs.finish()?;
        bail_if(losses.iter().any(|l| !l.is_finite()), || Fault::data("the loss of a sequence is not finite"))?;
        let lengths: Vec<usize> = self.tokens.sequences.iter().map(Vec::len).collect();
        self.cx.work.write(LOSSES, |path| write_losses(path, &lengths, &losses))?;
        passage.publish()?;
        self.cx.work.forget(&input(blocks));
        Ok(())
    }

    /// Takes the gradient from the output of block `l` to its input, and writes what it says of the block's units.
    fn backward(&mut self, l: usize) -> Result<()> {
        let block = timed(&mut self.clock.load, || self.checkpoint.block(l))?;
        let mut inputs = TensorReader::open(&self.cx.work.path(&input(l)))?;
        let mut passage = Passage::open(self.cx, Some(&gradient(l + 1)), gradient(l))?;
        let hidden = self.checkpoint.config().dims.hidden;
        let mut collector = Collector::new(block.dims).with_curvature(self.params.curvature, hidden);
        for (batch, gradient) in self.stream.iter_mut().zip(&mut self.gradient) {
            self.cx.check_cancelled()?;
            let (x, dy) = timed(&mut self.clock.files, || {
                let dy = passage.fetch(gradient)?;
                batch.fetch(&mut inputs)?;
                Ok((batch.rows()?, dy))
            })?;
            let (mut both, mut in_sums) = (0.0, 0.0);
            let mut tap = |site, a: &[f32], da: &[f32], dy: &[f32]| {
                timed(&mut in_sums, || {
                    collector.add(site, a, da, &batch.lengths);
                    collector.add_outputs(site, dy)
                })
            };
            let step = || self.decoder.block_grad(&block, &x, &batch.lengths, &dy, &mut tap);
            let rows = timed(&mut both, step)?;
            self.clock.sums += in_sums;
            self.clock.backward += both - in_sums;
            batch.clear()?;
            timed(&mut self.clock.files, || passage.store(gradient, &rows))?;
        }
        inputs.finish()?;
        let (work, per_sequence, tokens) = (&self.cx.work, self.params.per_sequence, self.tokens.tokens());
        timed(&mut self.clock.files, || {
            collector.publish(work, l, per_sequence, tokens)?;
            if l > 0 {
                passage.publish()?;
            } else {
                passage.discard();
            }
            work.forget(&gradient(l + 1));
            work.forget(&input(l));
            Ok(())
        })
    }
}
