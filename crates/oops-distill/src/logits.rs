//! `distill.logits`: the whole student is trained to give the dense model's next-token distributions.
//!
//! Loss: mean over tokens of τ²·KL(p_teacher ‖ p_student) in nats, at temperature τ. Trained are linear weights, biases
//! and norms of the blocks; embedding, last norm and head stay as they are. The teacher runs once, block by block, and
//! only the states that its head sees are kept; no more than 2²⁵ logits of each model exist at once.
//!
//! Memory: per weight in training 16 bytes (the f32 weight, its gradient and both moments; f32 whatever the student is
//! stored in); per token 4·hidden bytes for the teacher; 2 × 128 MiB of logits; both heads; and the activations of one
//! batch, of the whole student if they take up to 1 GiB, of one block otherwise (then they are computed twice).

mod fit;
mod params;
mod report;
mod resume;
mod student;
mod teacher;

use oops_artifact::{Kind, SUMMARY, Sink, json};
use oops_core::Result;
use oops_model::{Checkpoint, ModelConfig, block_file, write_block};
use oops_stage::{Cx, Facts, Inputs, Needs, Port, PortFacts, Sizes, Source, Stage, peak_rss_bytes};

use crate::pair;
use fit::Fit;
use params::Params;

/// Logits of each model that exist at once.
const LOGITS: u64 = 1 << 25;

/// Distillation on logits.
pub(crate) struct Logits;

impl Stage for Logits {
    type Params = Params;
    const NAME: &'static str = "distill.logits";
    const VERSION: u32 = 2;
    const ABOUT: &'static str = "trains a whole student to give the teacher's next-token distributions";
    const INPUTS: &'static [Port] =
        &[Port::one("student", Kind::Model), Port::one("teacher", Kind::Model), Port::one("tokens", Kind::Tokens)];
    const OUTPUT: Kind = Kind::Model;
    const SEEDED: bool = true;
    const UNKEYED: &'static [&'static str] = &["checkpoint_steps"];

    fn check(params: &Params, inputs: &PortFacts, _: &[Source]) -> Result<Facts> {
        params.check()?;
        pair::check_facts(inputs, params.heldout_fraction)?;
        Ok(Facts { warnings: Vec::new(), ..inputs.one("student") })
    }

    /// The file's description, as numbers. Disk: the weights (f32 at most), two checkpoints of weights and moments, and
    /// the teacher's states, twice if they spill.
    fn needs(params: &Params, inputs: &PortFacts) -> Needs {
        let Some((student, teacher, tokens)) = pair::facts(inputs) else { return Needs::HEAVY };
        let (sizes, weights) = (Sizes(&student), 4 * student.decoder_params());
        let batch = (params.batch_sequences * tokens.sequence_tokens) as u64;
        let (blocks, rows) = (student.blocks.len() as u64, batch.min(LOGITS / student.vocab.max(1) as u64));
        let activations = (blocks * sizes.inner(batch)).min(student::KEPT_BYTES as u64) + blocks * sizes.stream(batch);
        let logits = 2 * 4 * rows * student.vocab as u64;
        let heads = sizes.embedding() * if student.tied { 1 } else { 2 };
        let vocab = (student.vocab * student.hidden) as f64;
        let training = sizes.forward(tokens) + 4.0 * vocab * tokens.count() as f64;
        Needs {
            heavy: true,
            memory_bytes: Some(4 * weights + sizes.stream(tokens.count()) + activations + logits + heads),
            disk_bytes: Some(sizes.checkpoint(4) + 2 * 3 * weights + 2 * sizes.stream(tokens.count())),
            // The teacher's pass; per epoch forward, backward at twice that, and judging.
            work: Some(Sizes(&teacher).forward(tokens) + 4.0 * params.epochs as f64 * training),
        }
    }

    fn run(params: &Params, inputs: &Inputs, cx: &Cx<'_>) -> Result<()> {
        let (student, teacher, tokens) = pair::open(inputs, cx)?;
        let mut fit = Fit::new(params, &student, &teacher, &tokens, cx)?;
        drop(teacher);
        fit.run()?;
        write(&fit, &student, inputs, cx)?;
        cx.measure("seconds", &fit.clock);
        cx.measure("steps_run", fit.steps_run);
        cx.measure("training_tokens_per_s", fit.tokens_run as f64 / fit.clock.train.max(1e-9));
        cx.measure("peak_rss_bytes", peak_rss_bytes());
        Ok(())
    }
}

/// The best weights as a checkpoint, and what training came to.
fn write(fit: &Fit<'_>, student: &Checkpoint, inputs: &Inputs, cx: &Cx<'_>) -> Result<()> {
    let source = inputs.one("student")?;
    for (l, block) in fit.best()?.into_iter().enumerate() {
        cx.work.write(&block_file(l), |path| write_block(path, l, &block, &fit.dtype))?;
    }
    let config = ModelConfig { dtype: fit.dtype.clone(), ..student.config().clone() };
    oops_model::write_rest(
        student,
        &config,
        &mut |name, write| cx.work.file(name, write),
        &|name| cx.work.path(name),
        &mut |name| cx.work.link_present(source, name),
    )?;
    let summary = serde_json::json!({
        "method": Logits::NAME,
        "dims": config.dims,
        "tokens": { "fit": fit.tokens(&fit.split.fit), "heldout": fit.split.judging(), "leaked": fit.split.leaked },
        "training": fit.report,
    });
    cx.work.file(SUMMARY, &mut |path| json::write(path, &summary))
}

#[cfg(test)]
mod tests;
