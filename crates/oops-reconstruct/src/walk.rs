//! The loop over blocks on the pruned stream: every module is fitted on what the blocks repaired so far feed it.
//!
//! Per block: the input X of o_proj, once for all tokens, with all heads (its Gram matrix knows what is cut) and kept
//! with the columns that stay; the fit; the stream goes on through the repaired o_proj; the same with down_proj. So a
//! walk costs one dense forward pass and its Gram matrices, and holds one block, the residual stream and one site's
//! kept inputs of all tokens. For another target than a module's own output, the dense stream walks beside it.
//! Where the method refines FFNs, the three projections are fitted together before the stream goes on.

use candle_core::Tensor;
use oops_artifact::{Artifact, Heldout, HeldoutCounts, Rows, TokenBatch, TokenSet};
use oops_core::{Fault, Result, Site, bail_if};
use oops_linalg::stats::TokenWeights;
use oops_model::{Block, Decoder, Linear, Shelf, load_shelves, save_shelves, slice_block, with_values};
use oops_stage::{Workdir, timed};

use crate::{
    batch::{Batch, token_roots, token_weights, weighted},
    forward::{columns, fault, project, site_input, without_attention},
    gather::Gather,
    joint::{Fit, Refined},
    options::{Joint, Options, Target},
    stage::{Job, Seconds},
};

/// Tokens that go through a block together; bounds the memory for inner activations, changes no more than rounding.
pub(crate) const BATCH_TOKENS: usize = 4096;

/// Every tenth sequence is held out, as by `calibrate.activations`.
const PERIOD: usize = 10;

/// The residual streams between two modules.
pub(crate) struct Walk<'a> {
    job: &'a Job<'a>,
    options: &'a Options,
    decoder: Decoder,
    batches: Vec<Batch>,
    counts: HeldoutCounts,
    /// The pruned model's residual stream, one row per token, batch by batch.
    x: Shelf,
    /// The dense model's, where the target needs it.
    dense: Option<Shelf>,
}

/// Checkpoint of the residual streams behind block `l`: first the whole of the pruned one.
fn streams_file(l: usize) -> String {
    Workdir::state(&format!("walk-{l:03}.bin"))
}

impl<'a> Walk<'a> {
    /// Repairs every block, or what an earlier, killed run has left; gives seconds and what was held out.
    pub(crate) fn run(
        job: &'a Job<'a>,
        tokens: &Artifact,
        options: &'a Options,
    ) -> Result<(Vec<Seconds>, HeldoutCounts)> {
        let tokens = TokenSet::read(tokens)?;
        let (blocks, cx) = (job.plan.blocks.len(), job.cx);
        tokens.check_for(job.checkpoint)?;
        tokens.check_lengths(job.checkpoint)?.into_iter().for_each(|warning| cx.warn(warning));
        let longest = tokens.sequences.iter().map(Vec::len).max().unwrap_or(0);
        bail_if(longest == 0, || Fault::data("there are no calibration tokens"))?;
        let decoder = Decoder::new(job.checkpoint.config(), longest)?;
        let x = Shelf::new(cx.spill_file("pruned.shelf"))?;
        let dense = options.two_streams().then(|| Shelf::new(cx.spill_file("dense.shelf"))).transpose()?;
        let heldout = Heldout::of(&tokens, PERIOD);
        let mut walk = Self { job, options, decoder, batches: Vec::new(), counts: heldout.counts(), x, dense };
        walk.embed(&tokens, &heldout)?;
        let first = walk.resume(blocks)?;
        cx.progress.advance(first as u64);
        let mut seconds = Vec::new();
        for l in first..blocks {
            walk.block(l, &mut seconds).map_err(|f| f.at(format!("block {l}")))?;
            cx.progress.advance(1);
        }
        Ok((seconds, walk.counts))
    }

    /// Continues behind the last block whose weights, report and streams are finished; gives the first block to do.
    fn resume(&mut self, blocks: usize) -> Result<usize> {
        let work = &self.job.cx.work;
        let finished = (0..blocks).take_while(|&l| self.job.is_done(l)).count();
        if finished == blocks {
            return Ok(blocks);
        }
        let Some(last) = (0..finished).rev().find(|&l| work.is_done(&streams_file(l))) else { return Ok(0) };
        load_shelves(&work.path(&streams_file(last)), [&mut self.x].into_iter().chain(&mut self.dense))?;
        Ok(last + 1)
    }

    fn block(&mut self, l: usize, seconds: &mut Vec<Seconds>) -> Result<()> {
        let job = self.job;
        let dense = job.checkpoint.block(l)?;
        let (mut block, mut reports) = (slice_block(&dense, &job.plan.blocks[l])?, Vec::new());
        for site in Site::ALL {
            let mut time = Seconds::of(l, site);
            let (inputs, gather) = timed(&mut time.statistics, || self.inputs(l, site, &dense))?;
            let mut report = None;
            if let (Some(module), Some(gather)) = (job.module(l, site, &dense)?, gather) {
                let to = block.projection_mut(site);
                let repair = || job.guard.repair(l, site, &module, gather.finish(), to).map_err(|f| f.at(site));
                report = Some(timed(&mut time.repair, repair)?);
            }
            // What is written is what the stream goes through.
            block = block.rounded(job.dtype)?;
            match (&mut report, self.options.joint) {
                (Some(report), Some(joint)) if self.refines(site, &block) => {
                    drop(inputs);
                    let refined = timed(&mut time.repair, || self.refine(joint, &dense, &mut block));
                    report.refined = Some(refined.map_err(|f| f.at(site))?);
                }
                _ => timed(&mut time.advance, || self.advance(&inputs, block.projection(site)))?,
            }
            reports.extend(report);
            seconds.push(time);
        }
        job.write(l, &block, &reports)?;
        job.cx.work.write(&streams_file(l), |path| save_shelves(path, [&self.x].into_iter().chain(&self.dense)))?;
        if l > 0 {
            job.cx.work.forget(&streams_file(l - 1));
        }
        Ok(())
    }

    /// Whether an FFN that lost channels is refined: without held-out tokens no iterate could be told from the others.
    fn refines(&self, site: Site, block: &Block) -> bool {
        site == Site::MlpDown && block.dims.ffn > 0 && self.counts.judging() > 0
    }

    /// What tokens weigh in the fit of a module: y is the dense stream behind it or, where that does not walk along, the
    /// pruned stream in front of it.
    fn token_weights(&self, site: Site, front: &Block, layer: &Linear) -> Result<TokenWeights> {
        token_weights(&self.batches, self.options.kappa, |i| {
            self.job.cx.check_cancelled()?;
            let Some(dense) = &self.dense else { return self.x.get(i) };
            let before = dense.get(i)?;
            let input = site_input(&self.decoder, front, &before, &self.batches[i].lengths, site)?;
            (before + project(&input, layer)?).map_err(fault)
        })
    }

    /// The kept columns of a module's input, batch by batch, and its statistics if something of the module goes. The
    /// dense stream, where there is one, moves behind the module.
    fn inputs(&mut self, l: usize, site: Site, dense: &Block) -> Result<(Shelf, Option<Gather>)> {
        let kept = self.job.kept(l, site);
        let half = |b: &Block| if site == Site::MlpDown { without_attention(b) } else { Ok(b.clone()) };
        // Channels in front of a site are written in the output's precision too.
        let (front, dense_front) = (half(&dense.rounded(self.job.dtype)?)?, half(dense)?);
        let layer = dense.projection(site);
        let outputs = (self.options.target != Target::Own).then(|| layer.weight.dim(0)).transpose().map_err(fault)?;
        let width = dense.dims.width(site);
        let mut gather = (kept.len() < width).then(|| Gather::new(width, outputs));
        let mut inputs = Shelf::new(self.job.cx.spill_file("inputs.shelf"))?;
        let law = gather.is_some().then(|| self.token_weights(site, &dense_front, layer)).transpose()?;
        for (i, batch) in self.batches.iter().enumerate() {
            self.job.cx.check_cancelled()?;
            let mut stream = self.x.get(i)?;
            let x = site_input(&self.decoder, &front, &stream, &batch.lengths, site)?;
            let mut shift = None;
            if let Some(dense) = &mut self.dense {
                let before = dense.get(i)?;
                let theirs = site_input(&self.decoder, &dense_front, &before, &batch.lengths, site)?;
                let output = project(&theirs, layer)?;
                if self.options.target != Target::Own {
                    shift = Some(beyond(self.options.target, &output, &project(&x, layer)?, &before, &stream)?);
                }
                stream = (before + output).map_err(fault)?;
                dense.set(i, stream.clone())?;
            }
            if let (Some(gather), Some(law)) = (&mut gather, &law) {
                let (weights, parts) = (token_roots(&stream, law)?, Rows::new(&batch.judges));
                let shift = shift.map(|d| weighted(&d, weights.as_ref())).transpose()?;
                let shift = shift.as_ref().map(oops_model::values).transpose()?;
                with_values(&weighted(&x, weights.as_ref())?, |x| gather.add(&parts, x, shift.as_deref()))??;
            }
            inputs.push(columns(&x, &kept)?)?;
        }
        Ok((inputs, gather))
    }

    /// Moves the pruned stream behind a module.
    fn advance(&mut self, inputs: &Shelf, layer: &Linear) -> Result<()> {
        for i in 0..self.x.len() {
            let moved = self.x.get(i)? + project(&inputs.get(i)?, layer)?;
            self.x.set(i, moved.map_err(fault)?)?;
        }
        Ok(())
    }

    /// Refines the FFN of a `block` that lost channels, and moves the pruned stream behind it.
    fn refine(&mut self, joint: Joint, dense: &Block, block: &mut Block) -> Result<Refined> {
        let cx = self.job.cx;
        let through = |b: &Block, walk: &Self, i: usize| {
            walk.decoder.block(b, &walk.x.get(i)?, &walk.batches[i].lengths, &mut |_, _| Ok(()))
        };
        let own = if joint.target == Target::Own {
            let (dense, mut own) = (without_attention(dense)?, Shelf::new(cx.spill_file("targets.shelf"))?);
            (0..self.x.len()).try_for_each(|i| own.push(through(&dense, self, i)?))?;
            Some(own)
        } else {
            None
        };
        let y = own.as_ref().or(self.dense.as_ref());
        let y = y.ok_or_else(|| Fault::internal("a residual target without the dense stream"))?;
        let tick = || cx.check_cancelled();
        let fit = Fit::new(joint, &self.decoder, &self.batches, [&self.x, y], &tick)?;
        let (half, refined) = fit.run(without_attention(block)?)?;
        drop(fit);
        let half = half.rounded(self.job.dtype)?;
        for i in 0..self.x.len() {
            self.x.set(i, through(&half, self, i)?)?;
        }
        *block = Block { gate: half.gate, up: half.up, down: half.down, ..block.clone() };
        Ok(refined)
    }

    /// Embeds the tokens.
    fn embed(&mut self, tokens: &TokenSet, heldout: &Heldout) -> Result<()> {
        let embedding = self.job.checkpoint.embedding()?;
        for TokenBatch { split, lengths, ids, judges, .. } in tokens.batches(heldout, BATCH_TOKENS) {
            let x = self.decoder.embed(&embedding, &ids)?;
            self.dense.iter_mut().try_for_each(|dense| dense.push(x.clone()))?;
            self.x.push(x)?;
            self.batches.push(Batch { split, lengths, judges });
        }
        Ok(())
    }
}

/// D: what the target has beyond the module's own output on the pruned stream.
///
/// `output` and `own` are the module's on the dense and the pruned stream, `dense` and `x` the streams in front of it.
fn beyond(target: Target, output: &Tensor, own: &Tensor, dense: &Tensor, x: &Tensor) -> Result<Tensor> {
    let d = (output - own).map_err(fault)?;
    match target {
        Target::Own | Target::Dense => Ok(d),
        Target::Residual => (dense - x).and_then(|gap| d + gap).map_err(fault),
    }
}

#[cfg(test)]
mod tests;
