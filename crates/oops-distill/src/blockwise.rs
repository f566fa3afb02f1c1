//! `distill.blockwise`: block after block, the student's is trained to give the dense block's output.
//!
//! x_l is the student's residual stream before block l: what the blocks distilled so far give, as they are stored. The
//! target is either the dense block on that same stream, or the teacher's own stream after block l.

use oops_artifact::{Kind, Sink};
use oops_core::Result;
use oops_model::ModelConfig;
use oops_stage::{Cx, Facts, Inputs, Needs, Port, PortFacts, Sizes, Source, Stage};

use crate::{pair, params::Params, walk::Walk};

/// Block-wise distillation.
pub(crate) struct Blockwise;

impl Stage for Blockwise {
    type Params = Params;
    const NAME: &'static str = "distill.blockwise";
    const VERSION: u32 = 3;
    const ABOUT: &'static str = "trains each block of a student to give the teacher's residual stream";
    const INPUTS: &'static [Port] =
        &[Port::one("student", Kind::Model), Port::one("teacher", Kind::Model), Port::one("tokens", Kind::Tokens)];
    const OUTPUT: Kind = Kind::Model;
    const SEEDED: bool = true;

    fn check(params: &Params, inputs: &PortFacts, _: &[Source]) -> Result<Facts> {
        params.check()?;
        pair::check_facts(inputs, params.heldout_fraction)?;
        Ok(Facts { warnings: Vec::new(), ..inputs.one("student") })
    }

    /// Memory: both residual streams; of the block in training weights, gradients, both moments, the best and the candidate,
    /// beside the dense block; the activations of one batch and their gradients. Disk: the weights (f32 at most), and the
    /// streams twice, or three times if they spill.
    fn needs(params: &Params, inputs: &PortFacts) -> Needs {
        let Some((student, teacher, tokens)) = pair::facts(inputs) else { return Needs::HEAVY };
        let (sizes, dense) = (Sizes(&student), Sizes(&teacher));
        let streams = 2 * sizes.stream(tokens.count());
        let batch = (params.batch_sequences * tokens.sequence_tokens) as u64;
        let training = 6 * sizes.block() + dense.block() + 2 * sizes.inner(batch);
        Needs {
            heavy: true,
            memory_bytes: Some(streams + training.max(dense.embedding())),
            disk_bytes: Some(sizes.checkpoint(4) + 3 * streams),
            // The teacher's pass; per epoch forward, backward at twice that, and judging.
            work: Some(dense.forward(tokens) + (1.0 + 3.0 * params.epochs as f64) * sizes.forward(tokens)),
        }
    }

    fn run(params: &Params, inputs: &Inputs, cx: &Cx<'_>) -> Result<()> {
        let source = inputs.one("student")?;
        let (student, teacher, tokens) = pair::open(inputs, cx)?;
        let mut walk = Walk::new(params, student, teacher, &tokens, cx)?;
        let (blocks, first) = (walk.student.config().dims.blocks.len(), walk.resume()?);
        cx.progress.begin(blocks as u64, "blocks");
        cx.progress.advance(first as u64);
        for l in first..blocks {
            walk.block(l).map_err(|f| f.at(format!("block {l}")))?;
            cx.progress.advance(1);
        }
        let config = ModelConfig { dtype: walk.recipe.dtype.clone(), ..walk.student.config().clone() };
        oops_model::write_rest(
            &walk.student,
            &config,
            &mut |name, write| cx.work.file(name, write),
            &|name| cx.work.path(name),
            &mut |name| cx.work.link_present(source, name),
        )?;
        walk.measure(blocks - first);
        walk.summarise(Self::NAME, &config)
    }
}

#[cfg(test)]
mod tests;
