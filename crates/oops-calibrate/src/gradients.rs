//! `calibrate.gradients`: mask gradients of every unit, one block in memory.
//!
//! With a mask variable m_u = 1 on every unit's channels, g_{b,u} = ∂L_b/∂m_u = Σ_t Σ_{j ∈ u} a_tj · ∂L_b/∂a_tj, with a
//! the activations of the unit's site and L_b the summed next-token cross-entropy of sequence b. Beside them the curvature
//! behind each site, G = Σ_t y_t y_tᵀ / T, y_t = ∂L_b/∂(output of the site's projection at token t): one factor of the
//! Kronecker-factored Fisher matrix T · H ⊗ G (Martens & Grosse, arXiv 1503.05671), H = XᵀX/T being that of
//! `calibrate.activations`. A forward pass keeps every block's input on disk; then the blocks are walked from last to first
//! with vector-Jacobian products.

mod sums;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tiny;
mod walk;

use std::time::Instant;

use oops_artifact::{GradientsInfo, Kind, MeasuredOn, SUMMARY, TokenSet, json, read_losses};
use oops_core::{Fault, Result, bail_if};
use oops_model::{Checkpoint, ComputeDtype, StreamDtype};
use oops_stage::{Cx, Facts, Inputs, Needs, Port, PortFacts, Sizes, Source, Stage, peak_rss_bytes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use walk::{Clock, LOSSES, Walk};

/// Parameters of [`Gradients`].
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Tokens that go through a block together; bounds the memory for inner activations, changes no more than rounding.
    batch_tokens: usize,
    /// Precision of the residual stream and its gradient between blocks: `f32`, or `bf16` for half their memory and disk.
    #[serde(skip_serializing_if = "StreamDtype::is_f32")]
    stream_dtype: StreamDtype,
    /// Precision of the operands of the blocks' linear layers, forward and backward: `f32`, or `bf16` (sums stay f32), faster on
    /// CPUs with AVX512-BF16. The head is f32 whatever it is.
    #[serde(skip_serializing_if = "ComputeDtype::is_f32")]
    compute_dtype: ComputeDtype,
    /// Also keep every sequence's gradient of every unit (sequences × units numbers).
    per_sequence: bool,
    /// Also keep the curvature behind each site (`score.kfac` needs it): hidden² / 2 numbers per site.
    curvature: bool,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            batch_tokens: 2048,
            stream_dtype: StreamDtype::F32,
            compute_dtype: ComputeDtype::F32,
            per_sequence: false,
            curvature: true,
        }
    }
}

/// Gradient statistics.
pub struct Gradients;

impl Stage for Gradients {
    type Params = Params;
    const NAME: &'static str = "calibrate.gradients";
    const VERSION: u32 = 4;
    const ABOUT: &'static str =
        "gradients of each sequence's loss with respect to a mask on every unit, curvature behind every site";
    const INPUTS: &'static [Port] = &[Port::one("model", Kind::Model), Port::one("tokens", Kind::Tokens)];
    const OUTPUT: Kind = Kind::Gradients;

    fn check(params: &Params, inputs: &PortFacts, _: &[Source]) -> Result<Facts> {
        bail_if(params.batch_tokens == 0, || Fault::config("`batch_tokens` must be at least 1"))?;
        bail_if(inputs.one("tokens").tokens.is_some_and(|t| t.sequence_tokens < 2), || {
            Fault::config("sequences of one token predict nothing").help("make sequences of at least 2 tokens")
        })?;
        Ok(Facts { model: inputs.one("model").model, gram: Some(params.curvature), ..Facts::default() })
    }

    /// Memory: the residual stream or its gradient, one block with the activations and gradients of a batch and its
    /// curvature; at the end of the way forward, the head instead of the block. Disk: the stream at every block, and the gradient.
    fn needs(params: &Params, inputs: &PortFacts) -> Needs {
        let (Some(dims), Some(tokens)) = (inputs.one("model").model, inputs.one("tokens").tokens) else {
            return Needs::HEAVY;
        };
        let (sizes, count) = (Sizes(&dims), tokens.count());
        let batch = count.min((params.batch_tokens as u64).max(tokens.sequence_tokens as u64));
        // Of both sites; eight bytes an entry cover the sum and, beside it, the packed half that is written.
        let squares = if params.curvature { 2 * (dims.hidden * dims.hidden) as u64 } else { 0 };
        let block = sizes.block() + 2 * sizes.inner(batch) + 8 * squares;
        let stream = params.stream_dtype.of(sizes.stream(count));
        Needs {
            heavy: true,
            memory_bytes: Some(stream + block.max(sizes.embedding())),
            disk_bytes: Some((dims.blocks.len() as u64 + 3) * stream),
            // Forward; then forward again, and backward to inputs alone; head there and back; half of the products y yᵀ.
            work: Some(
                3.0 * sizes.forward(tokens)
                    + 4.0 * (count * dims.vocab as u64 * dims.hidden as u64) as f64
                    + (count * squares * dims.blocks.len() as u64) as f64,
            ),
        }
    }

    fn run(params: &Params, inputs: &Inputs, cx: &Cx<'_>) -> Result<()> {
        let checkpoint = Checkpoint::open(&inputs.one("model")?.paths)?;
        let tokens = TokenSet::read(inputs.one("tokens")?)?;
        tokens.check_for(&checkpoint)?;
        tokens.check_lengths(&checkpoint)?.into_iter().for_each(|warning| cx.warn(warning));
        MeasuredOn::write(inputs.one("model")?, &cx.work)?;
        pass(params, &checkpoint, &tokens, cx)
    }
}

/// The whole pass: what [`Stage::run`] does with its inputs opened.
fn pass(params: &Params, checkpoint: &Checkpoint, tokens: &TokenSet, cx: &Cx<'_>) -> Result<()> {
    let predicted: usize = tokens.sequences.iter().map(|s| s.len().saturating_sub(1)).sum();
    bail_if(predicted == 0, || {
        Fault::data("no sequence has a second token to predict").help("make sequences of at least 2 tokens")
    })?;
    let start = Instant::now();
    let mut walk = Walk::new(params, checkpoint, tokens, cx)?;
    walk.run()?;
    report_speed(&walk.clock, tokens.tokens(), start.elapsed().as_secs_f64(), cx);
    let info = GradientsInfo {
        dims: checkpoint.config().dims.clone(),
        sequences: tokens.sequences.len(),
        tokens: tokens.tokens(),
        mean_loss: read_losses(&cx.work.path(LOSSES))?.iter().sum::<f64>() / predicted as f64,
        per_sequence: params.per_sequence,
        curvature: params.curvature,
    };
    cx.work.write(SUMMARY, |path| json::write(path, &info))
}

/// Records seconds by part, and the whole in units of the forward pass through all blocks (if this run did one).
fn report_speed(clock: &Clock, tokens: usize, seconds: f64, cx: &Cx<'_>) {
    cx.measure("peak_rss_bytes", peak_rss_bytes());
    cx.measure("seconds", clock);
    cx.measure("tokens_per_s", tokens as f64 / seconds.max(1e-9));
    if clock.forward > 0.0 {
        cx.measure("cost_in_forward_passes", seconds / clock.forward);
    }
}
