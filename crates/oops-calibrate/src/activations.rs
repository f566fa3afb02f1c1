//! `calibrate.activations`: one pass over the dense model.

mod sites;
mod speed;

use std::time::Instant;

use oops_artifact::{
    Heldout, HeldoutCounts, Kind, MeasuredOn, SUMMARY, Split, StatsInfo, TokenSet, channels_file, gram_file, holds_out,
    json, outliers_file,
};
use oops_core::{Device, Fault, Result, Site, bail_if};
use oops_model::{Checkpoint, ComputeDtype, Decoder, StreamDtype, with_values};
use oops_stage::{Cx, Facts, Inputs, Needs, Port, PortFacts, Sizes, Source, Stage, Workdir, timed};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use sites::{SiteAccumulator, publish, sites_stats};
use speed::Clock;

use crate::{
    flops,
    hidden::{self, Batch, Passage},
    residual::{Residual, outlier_share},
};

/// Bytes of the moments of one channel.
const MOMENT_BYTES: u64 = 48;

/// Parameters of [`Activations`].
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Accumulate the Gram matrix XᵀX/T of each site (needed by `reconstruct.ridge`).
    gram: bool,
    /// Fraction of the sequences that are held out to judge repairs: every 1/fraction-th sequence; 0 for none. Tokens of
    /// them that fitted sequences hold too do not judge.
    heldout_fraction: f64,
    /// Tokens that go through a block together; bounds the memory for inner activations, changes no more than rounding.
    batch_tokens: usize,
    /// Precision of the residual stream between blocks: `f32`, or `bf16` for half its memory and disk.
    #[serde(skip_serializing_if = "StreamDtype::is_f32")]
    stream_dtype: StreamDtype,
    /// Precision of the operands of linear layers: `f32`, or `bf16` (sums stay f32), up to twice as fast on CPUs with AVX512-BF16.
    #[serde(skip_serializing_if = "ComputeDtype::is_f32")]
    compute_dtype: ComputeDtype,
    /// A token is an outlier of a channel if |x| exceeds this many times the RMS of its row.
    outlier_rms: f64,
    /// A dimension of the residual stream is massive if its max|x| exceeds this many times the median RMS of all
    /// dimensions, a token if its ‖x‖² exceeds this many times the median.
    massive_ratio: f64,
    /// M of OWL's share of outlier weights: |W|·‖X‖ above M times its projection's mean.
    owl_multiple: f64,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            gram: true,
            heldout_fraction: 0.1,
            batch_tokens: 4096,
            stream_dtype: StreamDtype::F32,
            compute_dtype: ComputeDtype::F32,
            outlier_rms: 6.0,
            massive_ratio: 100.0,
            owl_multiple: 5.0,
        }
    }
}

impl Params {
    fn period(&self) -> usize {
        if self.heldout_fraction > 0.0 { (1.0 / self.heldout_fraction).round() as usize } else { 0 }
    }
}

/// Activation statistics.
pub struct Activations;

impl Stage for Activations {
    type Params = Params;
    const NAME: &'static str = "calibrate.activations";
    const VERSION: u32 = 5;
    const ABOUT: &'static str = "runs the model and accumulates channel moments and Gram matrices at every site";
    const INPUTS: &'static [Port] = &[Port::one("model", Kind::Model), Port::one("tokens", Kind::Tokens)];
    const OUTPUT: Kind = Kind::Stats;
    const ON_DEVICE: bool = true;

    fn check(params: &Params, inputs: &PortFacts, _: &[Source]) -> Result<Facts> {
        bail_if(!(0.0..=0.5).contains(&params.heldout_fraction), || {
            Fault::config("`heldout_fraction` must be in 0…0.5")
        })?;
        bail_if(params.batch_tokens == 0, || Fault::config("`batch_tokens` must be at least 1"))?;
        let ratios = [
            ("outlier_rms", params.outlier_rms),
            ("massive_ratio", params.massive_ratio),
            ("owl_multiple", params.owl_multiple),
        ];
        for (name, value) in ratios {
            bail_if(value.is_nan() || value <= 0.0, || Fault::config(format!("`{name}` must be above 0")))?;
        }
        let sequences = inputs.one("tokens").tokens.map_or(usize::MAX, |t| t.sequences);
        let none = params.period() > 0 && !holds_out(sequences, params.period());
        let warnings = HeldoutCounts::default().lack().filter(|_| none).into_iter().collect();
        Ok(Facts { model: inputs.one("model").model, gram: Some(params.gram), warnings, ..Facts::default() })
    }

    /// Memory: one block, the residual stream (beside the embedding first, beside the batch in work later), Gram matrices
    /// and moments of the splits that have sequences. Disk: the statistics, and the stream twice while a checkpoint replaces
    /// the last one.
    fn needs(params: &Params, inputs: &PortFacts) -> Needs {
        let (Some(dims), Some(tokens)) = (inputs.one("model").model, inputs.one("tokens").tokens) else {
            return Needs::HEAVY;
        };
        let (sizes, count) = (Sizes(&dims), tokens.count());
        let batch = count.min((params.batch_tokens as u64).max(tokens.sequence_tokens as u64));
        let splits = 1 + u64::from(holds_out(tokens.sequences, params.period()));
        let grams = if params.gram { splits * 4 * sizes.squares() } else { 0 };
        let pass = sizes.block() + sizes.inner(batch) + grams + splits * MOMENT_BYTES * 2 * sizes.widest();
        let lengths = vec![tokens.sequence_tokens; tokens.sequences];
        let stream = params.stream_dtype.of(sizes.stream(count));
        Needs {
            heavy: true,
            memory_bytes: Some(stream + pass.max(sizes.embedding())),
            // Matrices are written as one triangle.
            disk_bytes: Some(2 * stream + dims.blocks.len() as u64 * grams / 2),
            work: Some(flops::of_pass(&dims, &lengths, params.gram)),
        }
    }

    fn run(params: &Params, inputs: &Inputs, cx: &Cx<'_>) -> Result<()> {
        bail_if(cx.device != Device::Cpu && !params.compute_dtype.is_f32(), || {
            Fault::config("`compute_dtype` can be chosen on the CPU only").help("leave it out, or set `device: cpu`")
        })?;
        let checkpoint = Checkpoint::open(&inputs.one("model")?.paths)?.on(cx.device)?;
        let tokens = TokenSet::read(inputs.one("tokens")?)?;
        let dims = &checkpoint.config().dims;
        tokens.check_for(&checkpoint)?;
        tokens.check_lengths(&checkpoint)?.into_iter().for_each(|warning| cx.warn(warning));
        let longest = tokens.sequences.iter().map(Vec::len).max().unwrap_or(0);
        let decoder = Decoder::new(checkpoint.config(), longest)?.computing(params.compute_dtype);
        // In memory, nobody would read it.
        let mut embedded = cx.spill.then(|| Passage::open(cx, None, stream(0))).transpose()?;
        let mut keep = |batch: &mut Batch| embedded.as_mut().map_or(Ok(()), |file| file.keep(batch));
        let heldout = Heldout::of(&tokens, params.period());
        let sizes = (&heldout, params.batch_tokens);
        let mut batches = hidden::embed(&checkpoint, &decoder, &tokens, sizes, params.stream_dtype, &mut keep)?;
        bail_if(!batches.iter().any(|b| b.split == Split::Fit), || {
            Fault::data("every calibration sequence is held out").help("use more sequences or a smaller fraction")
        })?;
        if let Some(lack) = heldout.counts().lack().filter(|_| params.period() > 0) {
            cx.warn(lack);
        }
        let splits = if heldout.counts().judging() > 0 { &Split::ALL[..] } else { &[Split::Fit] };
        let first = resume(params, splits, cx, &mut batches, dims.blocks.len())?;
        match embedded {
            Some(file) if first == 0 => file.publish()?,
            embedded => embedded.into_iter().for_each(Passage::discard),
        }
        cx.progress.begin(dims.blocks.len() as u64, "blocks");
        cx.progress.advance(first as u64);
        let start = Instant::now();
        let mut clock = Clock::default();
        for l in first..dims.blocks.len() {
            cx.check_cancelled()?;
            one_block(params, &checkpoint, &decoder, l, &mut batches, cx, &mut clock)
                .map_err(|f| f.at(format!("block {l}")))?;
            cx.progress.advance(1);
        }
        let seconds = start.elapsed().as_secs_f64();
        speed::report(params, &checkpoint, &batches, first, seconds, &clock, cx)?;
        let sequences = |s: Split| batches.iter().filter(|b| b.split == s).map(|b| b.lengths.len()).sum();
        let judging = heldout.counts().judging();
        let info = StatsInfo {
            dims: dims.clone(),
            sequences: Split::ALL.map(sequences),
            tokens: [tokens.tokens() - judging, judging],
            leaked: heldout.counts().leaked,
            gram: params.gram,
            outlier_rms: params.outlier_rms,
            massive_ratio: params.massive_ratio,
            owl_multiple: params.owl_multiple,
        };
        MeasuredOn::write(inputs.one("model")?, &cx.work)?;
        cx.work.write(SUMMARY, |path| json::write(path, &info))
    }
}

/// Checkpoint of the residual stream at the input of `block`.
fn stream(block: usize) -> String {
    Workdir::state(&format!("stream-{block:03}.bin"))
}

/// Continues behind the last block whose statistics and residual stream an earlier, killed run has finished.
fn resume(params: &Params, splits: &[Split], cx: &Cx<'_>, batches: &mut [Batch], blocks: usize) -> Result<usize> {
    let whole = |l: usize| {
        let mut grams = Site::ALL.iter().flat_map(|&site| splits.iter().map(move |&split| gram_file(l, site, split)));
        cx.work.is_done(&channels_file(l))
            && cx.work.is_done(&outliers_file(l))
            && (!params.gram || grams.all(|name| cx.work.is_done(&name)))
    };
    let finished = (0..blocks).take_while(|&l| whole(l)).count();
    let Some(first) = (1..=finished).rev().find(|&l| cx.work.is_done(&stream(l))) else { return Ok(0) };
    hidden::load(cx, &stream(first), batches)?;
    Ok(first)
}

fn one_block(
    params: &Params,
    checkpoint: &Checkpoint,
    decoder: &Decoder,
    l: usize,
    batches: &mut [Batch],
    cx: &Cx<'_>,
    clock: &mut Clock,
) -> Result<()> {
    let block = timed(&mut clock.load, || checkpoint.block(l))?;
    let mut sites = Site::ALL.map(|s| SiteAccumulator::new(params, &block.dims, s));
    let mut residual = Residual::new(checkpoint.config().dims.hidden, params.outlier_rms);
    let mut passage = Passage::open(cx, Some(&stream(l)), stream(l + 1))?;
    for batch in batches.iter_mut() {
        cx.check_cancelled()?;
        let x = timed(&mut clock.load, || passage.fetch(batch))?;
        let (mut in_gram, mut in_moments) = (0.0, 0.0);
        let start = Instant::now();
        // From a checkpoint file it comes to host memory.
        let x = checkpoint.beside(&x)?;
        let rows = decoder.block(&block, &x, &batch.lengths, &mut |site, x| {
            with_values(x, |x| sites[site as usize].add(x, &batch.parts, [&mut in_moments, &mut in_gram]))?
        })?;
        clock.forward += start.elapsed().as_secs_f64() - in_gram - in_moments;
        clock.gram += in_gram;
        clock.moments += in_moments;
        timed(&mut clock.moments, || residual.add(batch, &rows))?;
        timed(&mut clock.write, || passage.store(batch, &rows))?;
    }
    let stats = sites_stats(&sites);
    let residual = residual.finish(params.massive_ratio, outlier_share(&block, &stats, params.owl_multiple)?);
    timed(&mut clock.write, || publish(l, (sites, stats), &residual, passage, cx))
}

#[cfg(test)]
mod forecast_tests;
