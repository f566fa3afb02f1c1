//! The walk over the blocks of student and teacher.

use std::time::Instant;

use oops_artifact::{SUMMARY, Sink, TokenSet, json};
use oops_core::{Fault, Result};
use oops_model::{Checkpoint, Decoder, ModelConfig, Shelf, block_file, load_shelves, save_shelves, write_block};
use oops_stage::{Cx, Workdir, peak_rss_bytes, timed};
use serde::Serialize;

use crate::{
    params::{Params, TargetStream},
    streams::{Split, advance, embed},
    train::{Data, Recipe, Report, Trainer},
};

/// Seconds spent in the parts of the walk.
#[derive(Default, Serialize)]
struct Clock {
    load: f64,
    teacher: f64,
    train: f64,
    student: f64,
    write: f64,
}

/// The walk over the blocks: models, both residual streams before the next block, and the means to train it.
pub(crate) struct Walk<'a> {
    params: &'a Params,
    pub(crate) recipe: Recipe,
    pub(crate) student: Checkpoint,
    teacher: Checkpoint,
    decoders: [Decoder; 2],
    split: Split,
    /// The student's stream x.
    x: Shelf,
    /// The teacher's stream; for the target `own_stream` unused before a block.
    y: Shelf,
    clock: Clock,
    cx: &'a Cx<'a>,
}

impl<'a> Walk<'a> {
    /// Both streams at their embeddings.
    pub(crate) fn new(
        params: &'a Params,
        student: Checkpoint,
        teacher: Checkpoint,
        tokens: &TokenSet,
        cx: &'a Cx<'a>,
    ) -> Result<Self> {
        let longest = tokens.sequences.iter().map(Vec::len).max().unwrap_or(0);
        let decoders = [Decoder::new(student.config(), longest)?, Decoder::new(teacher.config(), longest)?];
        let split = Split::new(tokens, params.heldout_fraction)?;
        let x = embed(&student, &decoders[0], tokens, "student.shelf", cx)?;
        let y = embed(&teacher, &decoders[1], tokens, "teacher.shelf", cx)?;
        let recipe = params.recipe(student.config());
        Ok(Self { params, recipe, student, teacher, decoders, split, x, y, clock: Clock::default(), cx })
    }

    /// Continues behind the last block whose weights, report and streams an earlier, killed run has finished; gives the
    /// first block to do.
    pub(crate) fn resume(&mut self) -> Result<usize> {
        let (work, blocks) = (&self.cx.work, self.student.config().dims.blocks.len());
        let whole = |l: &usize| work.is_done(&report_file(*l)) && work.is_done(&block_file(*l));
        let finished = (0..blocks).take_while(whole).count();
        if finished == blocks {
            return Ok(blocks);
        }
        let Some(last) = (0..finished).rev().find(|&l| work.is_done(&streams_file(l))) else { return Ok(0) };
        let y = (self.params.target == TargetStream::TeacherStream).then_some(&mut self.y);
        load_shelves(&work.path(&streams_file(last)), [&mut self.x].into_iter().chain(y))?;
        Ok(last + 1)
    }

    /// Trains block `l`, writes it and moves both streams behind it.
    pub(crate) fn block(&mut self, l: usize) -> Result<()> {
        let (block, dense) =
            timed(&mut self.clock.load, || Ok::<_, Fault>((self.student.block(l)?, self.teacher.block(l)?)))?;
        let from = (self.params.target == TargetStream::OwnStream).then_some(&self.x);
        timed(&mut self.clock.teacher, || advance(&self.decoders[1], &dense, from, &mut self.y))?;
        drop(dense);
        let trainer = Trainer {
            decoder: &self.decoders[0],
            recipe: &self.recipe,
            data: Data::new(&self.x, &self.y, &self.split, self.params.kappa)?,
        };
        let mut tick = || self.cx.check_cancelled();
        let (block, report) = timed(&mut self.clock.train, || trainer.run(l, &block, self.cx.seed, &mut tick))?;
        timed(&mut self.clock.student, || advance(&self.decoders[0], &block, None, &mut self.x))?;
        let start = Instant::now();
        // The report goes first: a finished shard always has one.
        self.cx.work.file(&report_file(l), &mut |path| json::write(path, &report))?;
        self.cx.work.write(&block_file(l), |path| write_block(path, l, &block, &self.recipe.dtype))?;
        let y = (self.params.target == TargetStream::TeacherStream).then_some(&self.y);
        self.cx.work.write(&streams_file(l), |path| save_shelves(path, [&self.x].into_iter().chain(y)))?;
        if l > 0 {
            self.cx.work.forget(&streams_file(l - 1));
        }
        self.clock.write += start.elapsed().as_secs_f64();
        Ok(())
    }

    /// Records seconds, speed and memory of the blocks that this run has done.
    pub(crate) fn measure(&self, blocks_run: usize) {
        let per_epoch: usize = self.split.fit.iter().map(|&i| self.x.rows(i)).sum();
        let tokens = per_epoch * self.params.epochs * blocks_run;
        self.cx.measure("seconds", &self.clock);
        self.cx.measure("blocks_run", blocks_run);
        self.cx.measure("training_tokens_per_s_and_block", tokens as f64 / self.clock.train.max(1e-9));
        self.cx.measure("peak_rss_bytes", peak_rss_bytes());
    }

    /// Writes what training came to, block by block.
    pub(crate) fn summarise(&self, method: &str, config: &ModelConfig) -> Result<()> {
        let report = |l: usize| json::read::<Report>(&self.cx.work.path(&report_file(l)));
        let reports = (0..config.dims.blocks.len()).map(report).collect::<Result<Vec<_>>>()?;
        let fitted = self.split.fit.iter().map(|&i| self.x.rows(i)).sum::<usize>();
        let summary = serde_json::json!({
            "method": method,
            "dims": config.dims,
            "tokens": { "fit": fitted, "heldout": self.split.judging(), "leaked": self.split.leaked },
            "blocks": reports,
        });
        self.cx.work.file(SUMMARY, &mut |path| json::write(path, &summary))
    }
}

fn report_file(l: usize) -> String {
    Workdir::state(&format!("report-{l:03}.json"))
}

/// Checkpoint of both residual streams after block `l`.
fn streams_file(l: usize) -> String {
    Workdir::state(&format!("streams-{l:03}.bin"))
}
