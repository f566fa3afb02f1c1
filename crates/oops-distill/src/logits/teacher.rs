//! The teacher's part: one pass over all tokens before training.

use candle_core::Tensor;
use oops_artifact::TokenSet;
use oops_core::Result;
use oops_model::{Checkpoint, Decoder, load_tensors, save_tensors};
use oops_stage::{Cx, Workdir};

use crate::streams::{advance, embed};

/// The states that the teacher's head sees, one block in memory at a time; a killed run's are read back
/// if they were finished.
pub(crate) fn states(teacher: &Checkpoint, decoder: &Decoder, tokens: &TokenSet, cx: &Cx<'_>) -> Result<Vec<Tensor>> {
    let file = Workdir::state("teacher.bin");
    let mut x = embed(teacher, decoder, tokens)?;
    if cx.work.is_done(&file) {
        load_tensors(&cx.work.path(&file), &mut x)?;
        return Ok(x);
    }
    let blocks = teacher.config().dims.blocks.len();
    cx.progress.begin(blocks as u64, "teacher blocks");
    for l in 0..blocks {
        cx.check_cancelled()?;
        x = advance(decoder, &teacher.block(l)?, &x)?;
        cx.progress.advance(1);
    }
    let norm = teacher.final_norm()?;
    let states = x.iter().map(|x| decoder.normed(&norm, x)).collect::<Result<Vec<_>>>()?;
    cx.work.write(&file, |path| save_tensors(path, &states))?;
    Ok(states)
}
