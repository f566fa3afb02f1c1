//! The teacher's part: one pass over all tokens before training.

use oops_artifact::TokenSet;
use oops_core::Result;
use oops_model::{Checkpoint, Decoder, Shelf, load_shelves, save_shelves};
use oops_stage::{Cx, Workdir};

use crate::streams::{advance, embed};

/// The states that the teacher's head sees, one block in memory at a time; a killed run's are read back
/// if they were finished.
pub(crate) fn states(teacher: &Checkpoint, decoder: &Decoder, tokens: &TokenSet, cx: &Cx<'_>) -> Result<Shelf> {
    let file = Workdir::state("teacher.bin");
    let mut x = embed(teacher, decoder, tokens, "teacher.shelf", cx)?;
    if cx.work.is_done(&file) {
        load_shelves(&cx.work.path(&file), [&mut x])?;
        return Ok(x);
    }
    let blocks = teacher.config().dims.blocks.len();
    cx.progress.begin(blocks as u64, "teacher blocks");
    for l in 0..blocks {
        cx.check_cancelled()?;
        advance(decoder, &teacher.block(l)?, None, &mut x)?;
        cx.progress.advance(1);
    }
    let norm = teacher.final_norm()?;
    (0..x.len()).try_for_each(|i| x.set(i, decoder.normed(&norm, &x.get(i)?)?))?;
    cx.work.write(&file, |path| save_shelves(path, [&x]))?;
    Ok(x)
}
