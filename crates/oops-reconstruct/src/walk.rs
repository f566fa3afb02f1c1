//! The loop over blocks on the pruned stream: every module is fitted on what the blocks repaired so far feed it.
//!
//! Per block: the input X of o_proj, once for all tokens, with all heads (its Gram matrix knows what is cut) and kept
//! with the columns that stay; the fit; the stream goes on through the repaired o_proj; the same with down_proj. So a
//! walk costs one dense forward pass and its Gram matrices, and holds one block, the residual stream and one site's
//! kept inputs of all tokens. For another target than a module's own output, the dense stream walks beside it.

use candle_core::Tensor;
use oops_artifact::{Artifact, Split, TokenBatch, TokenSet};
use oops_core::{Fault, Result, Site, bail_if};
use oops_linalg::stats::median;
use oops_model::{Block, Checkpoint, Decoder, load_tensors, matrix, save_tensors, slice_block, with_values};
use oops_stage::{Workdir, timed};

use crate::{
    forward::{columns, fault, project, site_input, without_attention},
    gather::Gather,
    options::{Options, Target},
    stage::{Job, Seconds},
};

/// Tokens that go through a block together; bounds the memory for inner activations, changes no more than rounding.
const BATCH_TOKENS: usize = 4096;

/// Every tenth sequence is held out, as by `calibrate.activations`.
const PERIOD: usize = 10;

/// Sequences that go through a block together.
struct Batch {
    split: Split,
    lengths: Vec<usize>,
    /// The pruned model's residual stream, one row per token.
    x: Tensor,
    /// The dense model's, where the target needs it.
    dense: Option<Tensor>,
}

/// The residual streams between two modules.
pub(crate) struct Walk<'a> {
    job: &'a Job<'a>,
    target: Target,
    kappa: f64,
    decoder: Decoder,
    batches: Vec<Batch>,
}

/// Checkpoint of the residual streams behind block `l`.
fn streams_file(l: usize) -> String {
    Workdir::state(&format!("streams-{l:03}.bin"))
}

impl<'a> Walk<'a> {
    /// Repairs every block, or what an earlier, killed run has left.
    pub(crate) fn run(job: &'a Job<'a>, tokens: &Artifact, options: &Options) -> Result<Vec<Seconds>> {
        let (target, kappa) = (options.target, options.kappa);
        let tokens = TokenSet::read(tokens)?;
        let (blocks, cx) = (job.plan.blocks.len(), job.cx);
        tokens.check_vocab(job.checkpoint.config().dims.vocab)?;
        let longest = tokens.sequences.iter().map(Vec::len).max().unwrap_or(0);
        bail_if(longest == 0, || Fault::data("there are no calibration tokens"))?;
        let decoder = Decoder::new(job.checkpoint.config(), longest)?;
        let batches = embed(job.checkpoint, &decoder, &tokens, target != Target::Own)?;
        let mut walk = Self { job, target, kappa, decoder, batches };
        let first = walk.resume(blocks)?;
        cx.progress.advance(first as u64);
        let mut seconds = Vec::new();
        for l in first..blocks {
            walk.block(l, &mut seconds).map_err(|f| f.at(format!("block {l}")))?;
            cx.progress.advance(1);
        }
        Ok(seconds)
    }

    /// Continues behind the last block whose weights, report and streams are finished; gives the first block to do.
    fn resume(&mut self, blocks: usize) -> Result<usize> {
        let work = &self.job.cx.work;
        let finished = (0..blocks).take_while(|&l| self.job.is_done(l)).count();
        if finished == blocks {
            return Ok(blocks);
        }
        let Some(last) = (0..finished).rev().find(|&l| work.is_done(&streams_file(l))) else { return Ok(0) };
        let tensors = self.batches.iter_mut().flat_map(|b| std::iter::once(&mut b.x).chain(&mut b.dense));
        load_tensors(&work.path(&streams_file(last)), tensors)?;
        Ok(last + 1)
    }

    fn block(&mut self, l: usize, seconds: &mut Vec<Seconds>) -> Result<()> {
        let job = self.job;
        let dense = job.checkpoint.block(l)?;
        let (mut block, mut reports) = (slice_block(&dense, &job.plan.blocks[l])?, Vec::new());
        for site in Site::ALL {
            let mut time = Seconds::of(l, site);
            let (inputs, gather) = timed(&mut time.statistics, || self.inputs(l, site, &dense))?;
            if let (Some(module), Some(gather)) = (job.module(l, site, &dense)?, gather) {
                let to = block.projection_mut(site);
                let repair = || job.guard.repair(l, site, &module, gather.finish(), to).map_err(|f| f.at(site));
                reports.push(timed(&mut time.repair, repair)?);
            }
            // What is written is what the stream goes through.
            block = block.rounded(job.dtype)?;
            timed(&mut time.advance, || self.advance(&inputs, block.projection(site)))?;
            seconds.push(time);
        }
        job.write(l, &block, &reports)?;
        let tensors = self.batches.iter().flat_map(|b| std::iter::once(&b.x).chain(&b.dense));
        job.cx.work.write(&streams_file(l), |path| save_tensors(path, tensors))?;
        if l > 0 {
            job.cx.work.forget(&streams_file(l - 1));
        }
        Ok(())
    }

    /// The kept columns of a module's input, batch by batch, and its statistics if something of the module goes. The
    /// dense stream, where there is one, moves behind the module.
    fn inputs(&mut self, l: usize, site: Site, dense: &Block) -> Result<(Vec<Tensor>, Option<Gather>)> {
        let kept = self.job.kept(l, site);
        let half = |b: &Block| if site == Site::MlpDown { without_attention(b) } else { Ok(b.clone()) };
        // Channels in front of a site are written in the output's precision too.
        let (front, dense_front) = (half(&dense.rounded(self.job.dtype)?)?, half(dense)?);
        let layer = dense.projection(site);
        let outputs = (self.target != Target::Own).then(|| layer.weight.dim(0)).transpose().map_err(fault)?;
        let width = dense.dims.width(site);
        let mut gather = (kept.len() < width).then(|| Gather::new(width, outputs));
        let mut inputs = Vec::with_capacity(self.batches.len());
        for batch in &mut self.batches {
            self.job.cx.check_cancelled()?;
            let x = site_input(&self.decoder, &front, &batch.x, &batch.lengths, site)?;
            let mut shift = None;
            if let Some(stream) = &mut batch.dense {
                let theirs = site_input(&self.decoder, &dense_front, stream, &batch.lengths, site)?;
                let output = project(&theirs, layer)?;
                shift = Some(beyond(self.target, &output, &project(&x, layer)?, stream, &batch.x)?);
                *stream = (&*stream + output).map_err(fault)?;
            }
            if let Some(gather) = &mut gather {
                let weights = token_roots(batch.dense.as_ref().unwrap_or(&batch.x), self.kappa)?;
                let shift = shift.map(|d| weighted(&d, weights.as_ref())).transpose()?;
                let shift = shift.as_ref().map(oops_model::values).transpose()?;
                with_values(&weighted(&x, weights.as_ref())?, |x| gather.add(batch.split, x, shift.as_deref()))??;
            }
            inputs.push(columns(&x, &kept)?);
        }
        Ok((inputs, gather))
    }

    /// Moves the pruned stream behind a module.
    fn advance(&mut self, inputs: &[Tensor], layer: &oops_model::Linear) -> Result<()> {
        for (batch, input) in self.batches.iter_mut().zip(inputs) {
            batch.x = (&batch.x + project(input, layer)?).map_err(fault)?;
        }
        Ok(())
    }
}

/// √w_t of the tokens of a batch as a column, w_t = min(1, κ·median‖y‖²/‖y_t‖²) for the rows of `y`; `None` for κ = 0.
fn token_roots(y: &Tensor, kappa: f64) -> Result<Option<Tensor>> {
    if kappa == 0.0 {
        return Ok(None);
    }
    let (rows, width) = y.dims2().map_err(fault)?;
    let energy = |row: &[f32]| row.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
    let energies = with_values(y, |y| y.chunks_exact(width.max(1)).map(energy).collect::<Vec<_>>())?;
    let limit = kappa * median(&energies);
    let root = |&e: &f64| if e > limit { (limit / e).sqrt() as f32 } else { 1.0 };
    matrix(energies.iter().map(root).collect(), rows, 1).map(Some)
}

/// Rows of `x` times the column `roots`.
fn weighted(x: &Tensor, roots: Option<&Tensor>) -> Result<Tensor> {
    roots.map_or_else(|| Ok(x.clone()), |roots| x.broadcast_mul(roots).map_err(fault))
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

/// Embeds a token set, twice where the dense stream is needed too.
fn embed(checkpoint: &Checkpoint, decoder: &Decoder, tokens: &TokenSet, both: bool) -> Result<Vec<Batch>> {
    let embedding = checkpoint.embedding()?;
    let embedded = |TokenBatch { split, lengths, ids, .. }: TokenBatch| {
        let x = decoder.embed(&embedding, &ids)?;
        Ok(Batch { split, lengths, dense: both.then(|| x.clone()), x })
    };
    tokens.batches(PERIOD, BATCH_TOKENS).into_iter().map(embedded).collect()
}

#[cfg(test)]
mod tests;
