//! Checkpoints of a run over the whole student: weights, moments, and how far it is; and the best weights so far.
//!
//! The best weights are written before the checkpoint that names them, and a checkpoint's note goes last, so that what
//! a note names is whole.

use candle_core::Tensor;
use oops_artifact::json;
use oops_core::Result;
use oops_model::{Block, load_slices, load_tensors, save_slices, save_tensors};
use oops_stage::Workdir;
use serde::{Deserialize, Serialize};

use super::{fit::Fit, report::Report, student::refill};
use crate::trainable::Trainable;

/// How far a run is.
#[derive(Serialize, Deserialize)]
struct Note {
    report: Report,
    loss: f64,
    losses: usize,
}

impl Fit<'_> {
    /// Stores the state after this step and drops what it replaces.
    pub(super) fn checkpoint(&mut self) -> Result<()> {
        let (work, step) = (&self.cx.work, self.report.steps);
        work.write(&weights_file(step), |path| save_tensors(path, self.student.tensors()))?;
        let moments = self.adam.moments.iter().flat_map(|m| [m.first.as_slice(), m.second.as_slice()]);
        work.write(&moments_file(step), |path| save_slices(path, moments))?;
        let note = Note { report: self.report.clone(), loss: self.recent.0, losses: self.recent.1 };
        work.write(&note_file(step), |path| json::write(path, &note))?;
        for old in (1..step).filter(|&s| work.is_done(&note_file(s))) {
            [note_file(old), weights_file(old), moments_file(old)].iter().for_each(|name| work.forget(name));
        }
        let best = self.report.best_step;
        (1..step).filter(|&s| s != best && work.is_done(&best_file(s))).for_each(|s| work.forget(&best_file(s)));
        Ok(())
    }

    /// Goes back to the last checkpoint of an earlier, killed run; tells whether there is one.
    pub(super) fn resume(&mut self) -> Result<bool> {
        let work = &self.cx.work;
        let whole = |&s: &usize| {
            let files = [note_file(s), weights_file(s), moments_file(s)];
            files.iter().all(|name| work.is_done(name))
        };
        let Some(step) = (1..=self.report.steps_planned).rev().find(whole) else { return Ok(false) };
        let note: Note = json::read(&work.path(&note_file(step)))?;
        if note.report.best_step > 0 && !work.is_done(&best_file(note.report.best_step)) {
            return Ok(false);
        }
        load_tensors(&work.path(&weights_file(step)), self.student.blocks.iter_mut().flat_map(Trainable::tensors_mut))?;
        let moments = self.adam.moments.iter_mut().flat_map(|m| [m.first.as_mut_slice(), m.second.as_mut_slice()]);
        load_slices(&work.path(&moments_file(step)), moments)?;
        self.adam.steps = step as i32;
        (self.report, self.recent) = (note.report, (note.loss, note.losses));
        Ok(true)
    }

    /// Stores `blocks`, the best so far, under the number of this step.
    pub(super) fn keep_best(&self, blocks: &[Block]) -> Result<()> {
        let tensors = blocks.iter().map(tensors_of).collect::<Result<Vec<_>>>()?.concat();
        self.cx.work.write(&best_file(self.report.steps), |path| save_tensors(path, &tensors))
    }

    /// The best weights.
    pub(crate) fn best(&self) -> Result<Vec<Block>> {
        let start = self.start()?;
        if self.report.best_step == 0 {
            return Ok(start);
        }
        let mut tensors = start.iter().map(tensors_of).collect::<Result<Vec<_>>>()?.concat();
        load_tensors(&self.cx.work.path(&best_file(self.report.best_step)), &mut tensors)?;
        let mut tensors = tensors.into_iter();
        start.iter().map(|block| refill(block, &mut tensors)).collect()
    }
}

fn tensors_of(block: &Block) -> Result<Vec<Tensor>> {
    let mut all = Vec::new();
    block.map(&mut |_, _, t| {
        all.push(t.clone());
        Ok(t.clone())
    })?;
    Ok(all)
}

fn weights_file(step: usize) -> String {
    Workdir::state(&format!("weights-{step:06}.bin"))
}

fn moments_file(step: usize) -> String {
    Workdir::state(&format!("moments-{step:06}.bin"))
}

fn note_file(step: usize) -> String {
    Workdir::state(&format!("note-{step:06}.json"))
}

fn best_file(step: usize) -> String {
    Workdir::state(&format!("best-{step:06}.bin"))
}
