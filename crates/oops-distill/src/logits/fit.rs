//! The training loop over the whole student.

use std::time::Instant;

use oops_artifact::TokenSet;
use oops_core::{Class, Result, Rng};
use oops_model::{Block, Checkpoint, DType, Decoder, Shelf};
use oops_stage::Cx;

use super::{
    params::Params,
    report::{Clock, Point, Report},
    student::{Student, stack},
    teacher,
};
use crate::{adamw::AdamW, order, schedule::Schedule, streams::Split};

/// A student, what it is trained on, and how far it is.
pub(crate) struct Fit<'a> {
    params: &'a Params,
    source: &'a Checkpoint,
    tokens: &'a TokenSet,
    pub(super) cx: &'a Cx<'a>,
    pub(super) student: Student,
    pub(super) adam: AdamW,
    /// The states that the teacher's head sees, of every sequence.
    teacher: Shelf,
    pub(crate) split: Split,
    pub(crate) dtype: DType,
    pub(crate) report: Report,
    /// Σ and number of the losses since the last point.
    pub(super) recent: (f64, usize),
    pub(crate) clock: Clock,
    pub(crate) steps_run: usize,
    pub(crate) tokens_run: usize,
}

impl<'a> Fit<'a> {
    /// At the start, with the teacher's states.
    pub(crate) fn new(
        params: &'a Params,
        source: &'a Checkpoint,
        teacher: &Checkpoint,
        tokens: &'a TokenSet,
        cx: &'a Cx<'a>,
    ) -> Result<Self> {
        let split = Split::new(tokens, params.heldout_fraction)?;
        let longest = tokens.sequences.iter().map(Vec::len).max().unwrap_or(0);
        let mut rng = Rng::new(cx.seed, "distill.logits/start");
        let head = teacher.head()?;
        let student = Student::new(source, head, longest, params.temperature, params.lora_rank, &mut rng)?;
        let start = Instant::now();
        let states = teacher::states(teacher, &Decoder::new(teacher.config(), longest)?, tokens, cx)?;
        let clock = Clock { teacher: start.elapsed().as_secs_f64(), ..Clock::default() };
        let lengths: Vec<_> = split.fit.iter().map(|&i| (i, tokens.sequences[i].len())).collect();
        let per_epoch = order::epoch(&lengths, params.batch_sequences, &mut rng).len();
        let report = Report {
            status: "exact".to_owned(),
            divergence_before: 0.0,
            divergence_after: 0.0,
            learning_rate: params.learning_rate,
            steps: 0,
            steps_planned: per_epoch * params.epochs,
            best_step: 0,
            curve: Vec::new(),
        };
        let adam = AdamW::new(student.tensors(), params.clip);
        let dtype = params.dtype.resolve(&source.config().dtype);
        let (teacher, recent) = (states, (0.0, 0));
        Ok(Self {
            params,
            source,
            tokens,
            cx,
            student,
            adam,
            teacher,
            split,
            dtype,
            report,
            recent,
            clock,
            steps_run: 0,
            tokens_run: 0,
        })
    }

    /// Trains from the start, or from where a killed run stopped.
    pub(crate) fn run(&mut self) -> Result<()> {
        if !self.resume()? {
            self.report.divergence_before = self.judge(&self.start()?)?;
            self.report.divergence_after = self.report.divergence_before;
        }
        if self.report.divergence_before == 0.0 {
            return Ok(());
        }
        let (steps, mut batches) = (self.report.steps_planned, Vec::new());
        let per_epoch = steps / self.params.epochs;
        self.cx.progress.begin(steps as u64, "steps");
        self.cx.progress.advance(self.report.steps as u64);
        let warmup = (self.params.warmup_fraction * steps as f64) as usize;
        let schedule = Schedule { peak: self.params.learning_rate, warmup, steps };
        let mut diverged = false;
        while self.report.steps < steps && !self.is_stuck() {
            self.cx.check_cancelled()?;
            let (step, place) = (self.report.steps, self.report.steps % per_epoch);
            if batches.is_empty() || place == 0 {
                batches = self.batches(step / per_epoch);
            }
            if !self.step(&batches[place], schedule.rate(step))? {
                diverged = true;
                break;
            }
            self.cx.progress.advance(1);
            // The last of each of the epoch's equal parts.
            let part = |i: usize| i * self.params.evaluations_per_epoch / per_epoch;
            let evaluates = part(place) != part(place + 1);
            if evaluates {
                self.evaluate()?;
            }
            if evaluates || self.report.steps.is_multiple_of(self.params.checkpoint_steps) {
                let start = Instant::now();
                self.checkpoint()?;
                self.clock.checkpoint += start.elapsed().as_secs_f64();
            }
        }
        let status = if self.report.best_step > 0 { "trained" } else { "kept" };
        if diverged { "diverged" } else { status }.clone_into(&mut self.report.status);
        Ok(())
    }

    /// The batches of an epoch; they follow from the seed alone, so a resumed run needs no generator's state.
    fn batches(&self, epoch: usize) -> Vec<Vec<usize>> {
        let lengths: Vec<_> = self.split.fit.iter().map(|&i| (i, self.tokens.sequences[i].len())).collect();
        let mut rng = Rng::new(self.cx.seed, &format!("distill.logits/{epoch}"));
        order::epoch(&lengths, self.params.batch_sequences, &mut rng)
    }

    /// One step; false if loss or gradient are not finite.
    fn step(&mut self, batch: &[usize], rate: f64) -> Result<bool> {
        let start = Instant::now();
        let sequences: Vec<&[u32]> = batch.iter().map(|&i| self.tokens.sequences[i].as_slice()).collect();
        let teacher = stack(&batch.iter().map(|&i| self.teacher.get(i)).collect::<Result<Vec<_>>>()?)?;
        let (loss, gradients) = self.student.gradients(&sequences, &teacher)?;
        if !loss.is_finite() {
            return Ok(false);
        }
        match self.adam.step(self.student.tensors(), &gradients, rate) {
            Err(e) if e.class() == Class::Numerical => return Ok(false),
            other => other?,
        };
        self.recent = (self.recent.0 + loss, self.recent.1 + 1);
        self.report.steps += 1;
        self.steps_run += 1;
        self.tokens_run += self.tokens(batch);
        self.clock.train += start.elapsed().as_secs_f64();
        Ok(true)
    }

    /// Judges the weights of this moment and stores them if they are the best so far.
    fn evaluate(&mut self) -> Result<()> {
        let start = Instant::now();
        let blocks = self.student.snapshot(&self.dtype)?;
        let (heldout_divergence, step) = (self.judge(&blocks)?, self.report.steps);
        let loss = self.recent.0 / self.recent.1.max(1) as f64;
        self.recent = (0.0, 0);
        self.report.curve.push(Point { step, loss, heldout_divergence });
        if heldout_divergence < self.report.divergence_after {
            self.keep_best(&blocks)?;
            (self.report.divergence_after, self.report.best_step) = (heldout_divergence, step);
        }
        self.clock.judge += start.elapsed().as_secs_f64();
        Ok(())
    }

    /// Mean divergence per held-out token that judges.
    fn judge(&self, blocks: &[Block]) -> Result<f64> {
        let one = |(&i, judges): (&usize, &Vec<bool>)| -> Result<f64> {
            let each = self.student.divergence(blocks, &self.tokens.sequences[i], &self.teacher.get(i)?)?;
            Ok(each.iter().zip(judges).filter(|(_, judges)| **judges).map(|(d, _)| d).sum())
        };
        let total = self.split.heldout.iter().zip(&self.split.judges).map(one).sum::<Result<f64>>()?;
        Ok(total / self.split.judging().max(1) as f64)
    }

    /// Whether the last `patience` evaluations brought nothing better.
    fn is_stuck(&self) -> bool {
        let since = self.report.curve.iter().rev().take_while(|p| p.step > self.report.best_step).count();
        self.params.patience > 0 && since >= self.params.patience
    }

    /// The student as it came in, as it will be stored.
    pub(super) fn start(&self) -> Result<Vec<Block>> {
        (0..self.student.blocks.len()).map(|l| self.source.block(l)?.rounded(&self.dtype)).collect()
    }

    /// Tokens of a part of the sequences.
    pub(crate) fn tokens(&self, part: &[usize]) -> usize {
        part.iter().map(|&i| self.tokens.sequences[i].len()).sum()
    }
}
