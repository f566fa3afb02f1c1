//! `distill.blockwise`: block after block, the student's is trained to give the dense block's output.
//!
//! x_l is the student's residual stream before block l: what the blocks distilled so far give, as they are stored. The
//! target is either the dense block on that same stream, or the teacher's own stream after block l.

use oops_artifact::{Kind, Sink, TokenSet};
use oops_core::{Fault, ModelDims, Result, bail_if};
use oops_model::{Checkpoint, ModelConfig};
use oops_stage::{Cx, Facts, Inputs, Port, PortFacts, Source, Stage};

use crate::{params::Params, streams::Split, walk::Walk};

/// Fails unless a student of these dimensions can follow this teacher.
fn check_pair(student: &ModelDims, teacher: &ModelDims) -> Result<()> {
    let shape = |d: &ModelDims| (d.hidden, d.vocab, d.blocks.len());
    let ((hidden, vocab, blocks), theirs) = (shape(student), shape(teacher));
    bail_if((hidden, vocab, blocks) != theirs, || {
        Fault::config(format!(
            "the student has {blocks} blocks of width {hidden} over {vocab} tokens, the teacher {} of {} over {}",
            theirs.2, theirs.0, theirs.1
        ))
        .help("the teacher must be the model that the student was cut from")
    })
}

/// Block-wise distillation.
pub(crate) struct Blockwise;

impl Stage for Blockwise {
    type Params = Params;
    const NAME: &'static str = "distill.blockwise";
    const VERSION: u32 = 2;
    const ABOUT: &'static str = "trains each block of a student to give the teacher's residual stream";
    const INPUTS: &'static [Port] =
        &[Port::one("student", Kind::Model), Port::one("teacher", Kind::Model), Port::one("tokens", Kind::Tokens)];
    const OUTPUT: Kind = Kind::Model;
    const SEEDED: bool = true;

    fn check(params: &Params, inputs: &PortFacts, _: &[Source]) -> Result<Facts> {
        params.check()?;
        let (student, teacher) = (inputs.one("student").model, inputs.one("teacher").model);
        if let (Some(student), Some(teacher)) = (&student, &teacher) {
            check_pair(student, teacher)?;
        }
        if let Some(tokens) = inputs.one("tokens").tokens {
            Split::new(tokens.sequences, params.heldout_fraction)?;
        }
        Ok(Facts { model: student, ..Facts::default() })
    }

    fn run(params: &Params, inputs: &Inputs, cx: &Cx<'_>) -> Result<()> {
        let source = inputs.one("student")?;
        let student = Checkpoint::open(&source.paths)?;
        let teacher = Checkpoint::open(&inputs.one("teacher")?.paths)?;
        let tokens = TokenSet::read(inputs.one("tokens")?)?;
        check_pair(&student.config().dims, &teacher.config().dims)?;
        tokens.check_vocab(student.config().dims.vocab)?;
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
