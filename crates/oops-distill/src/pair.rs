//! A student, its teacher and tokens that both read.

use oops_artifact::TokenSet;
use oops_core::{Fault, ModelDims, Result, bail_if};
use oops_model::Checkpoint;
use oops_stage::{Cx, Inputs, PortFacts, TokensFacts};

use crate::streams::Split;

/// Fails unless a student of these dimensions can follow this teacher.
pub(crate) fn check(student: &ModelDims, teacher: &ModelDims) -> Result<()> {
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

/// Checks what is known of the ports `student`, `teacher` and `tokens` before anything runs.
pub(crate) fn check_facts(inputs: &PortFacts, heldout_fraction: f64) -> Result<()> {
    if let (Some(student), Some(teacher)) = (&inputs.one("student").model, &inputs.one("teacher").model) {
        check(student, teacher)?;
    }
    if let Some(tokens) = inputs.one("tokens").tokens {
        Split::period(tokens.sequences, heldout_fraction)?;
    }
    Ok(())
}

/// Dimensions of student (at most) and teacher and the shape of the tokens, as far as all are known before a run.
pub(crate) fn facts(inputs: &PortFacts) -> Option<(ModelDims, ModelDims, TokensFacts)> {
    let (student, teacher) = (inputs.one("student"), inputs.one("teacher"));
    Some((student.dims_at_most()?.clone(), teacher.dims_at_most()?.clone(), inputs.one("tokens").tokens?))
}

/// Student, teacher and tokens, checked against each other.
pub(crate) fn open(inputs: &Inputs, cx: &Cx<'_>) -> Result<(Checkpoint, Checkpoint, TokenSet)> {
    let model = |port: &str| Checkpoint::open(&inputs.one(port)?.paths);
    let (student, teacher) = (model("student")?, model("teacher")?);
    let tokens = TokenSet::read(inputs.one("tokens")?)?;
    check(&student.config().dims, &teacher.config().dims)?;
    for model in [&student, &teacher] {
        tokens.check_for(model)?;
    }
    tokens.check_lengths(&student)?.into_iter().for_each(|warning| cx.warn(warning));
    Ok((student, teacher, tokens))
}
