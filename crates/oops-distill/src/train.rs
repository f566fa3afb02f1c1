//! Training of one block.

use candle_core::Tensor;
use oops_core::{Class, Result, Rng};
use oops_linalg::stats::TokenWeights;
use oops_model::{Block, DType, Decoder, Shelf};
use serde::{Deserialize, Serialize};

use crate::{
    adamw::AdamW,
    fault,
    objective::{self, Target},
    order,
    schedule::Schedule,
    streams::{Split, through},
    trainable::Trainable,
};

/// The learning rate of an attempt over that of the attempt before.
const RETRY_FACTOR: f64 = 0.25;

/// How a block is trained.
pub(crate) struct Recipe {
    pub(crate) learning_rate: f64,
    pub(crate) epochs: usize,
    pub(crate) batch_sequences: usize,
    pub(crate) warmup_fraction: f64,
    pub(crate) clip: f64,
    pub(crate) evaluations_per_epoch: usize,
    pub(crate) patience: usize,
    pub(crate) retries: usize,
    pub(crate) lora_rank: Option<usize>,
    /// Precision that the block will be stored in: candidates are judged as they will be stored.
    pub(crate) dtype: DType,
}

/// Inputs x and targets y of a block, and what follows from them.
pub(crate) struct Data<'a> {
    x: &'a Shelf,
    y: &'a Shelf,
    weights: Vec<Vec<f32>>,
    split: &'a Split,
    /// mean w‖y‖² over the tokens that are trained on.
    scale: f64,
    /// Σ w‖y‖² over the tokens that judge.
    heldout_energy: f64,
}

impl<'a> Data<'a> {
    /// Token weights with `kappa` (see [`objective`]); the median is that of the tokens trained on. Held-out tokens that do
    /// not judge weigh nothing.
    pub(crate) fn new(x: &'a Shelf, y: &'a Shelf, split: &'a Split, kappa: f64) -> Result<Self> {
        let energies = (0..y.len()).map(|i| objective::energies(&y.get(i)?)).collect::<Result<Vec<_>>>()?;
        let fitted: Vec<f64> = split.fit.iter().flat_map(|&i| energies[i].iter().copied()).collect();
        let law = TokenWeights::new(kappa, &fitted);
        let weight = |e: &Vec<f64>| e.iter().map(|&e| law.of(e) as f32).collect();
        let mut weights: Vec<Vec<f32>> = energies.iter().map(weight).collect();
        for (&i, judges) in split.heldout.iter().zip(&split.judges) {
            weights[i].iter_mut().zip(judges).filter(|(_, judges)| !**judges).for_each(|(w, _)| *w = 0.0);
        }
        let total = |part: &[usize]| part.iter().map(|&i| objective::weighted(&energies[i], &weights[i])).sum::<f64>();
        let tokens: usize = split.fit.iter().map(|&i| energies[i].len()).sum();
        let scale = total(&split.fit) / tokens.max(1) as f64;
        let heldout_energy = total(&split.heldout);
        Ok(Self { x, y, weights, split, scale, heldout_energy })
    }

    fn target(&self, i: usize) -> Result<Target<'_>> {
        Ok(Target { y: self.y.get(i)?, weights: &self.weights[i] })
    }

    /// Relative error of `block` on the held-out sequences; 0 where there is nothing to reproduce and nothing comes.
    fn heldout_error(&self, decoder: &Decoder, block: &Block) -> Result<f64> {
        let error = |&i: &usize| objective::error(&through(decoder, block, &self.x.get(i)?)?, &self.target(i)?);
        let total = self.split.heldout.iter().map(error).sum::<Result<f64>>()?;
        Ok(if total == 0.0 { 0.0 } else { total / self.heldout_energy })
    }

    /// Number of tokens of each sequence that is trained on, with its index.
    fn lengths(&self) -> Vec<(usize, usize)> {
        self.split.fit.iter().map(|&i| (i, self.weights[i].len())).collect()
    }
}

/// What training a block came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Report {
    pub(crate) block: usize,
    /// `trained`; `kept` if nothing beat the start; `exact` if the start has no error; `diverged` if the loss stopped
    /// being finite (the best weights before that are kept).
    pub(crate) status: String,
    /// Relative error on held-out sequences of the weights that came in.
    pub(crate) error_before: f64,
    /// The same of the weights that go out; never above `error_before`.
    pub(crate) error_after: f64,
    /// Peak of the learning rate of the last attempt.
    pub(crate) learning_rate: f64,
    /// Attempts, each at a quarter of the rate before; what follows is the last one's.
    pub(crate) attempts: usize,
    /// Steps done, of `steps_planned`; fewer after an early stop.
    pub(crate) steps: usize,
    pub(crate) steps_planned: usize,
    /// Step after which the kept weights were reached; 0 for the start.
    pub(crate) best_step: usize,
    pub(crate) curve: Vec<Point>,
}

/// One evaluation during training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Point {
    pub(crate) step: usize,
    /// Mean loss of the steps since the last point.
    pub(crate) loss: f64,
    /// Relative error on held-out sequences.
    pub(crate) heldout_error: f64,
}

/// A block before and while it is trained.
pub(crate) struct Trainer<'a> {
    pub(crate) decoder: &'a Decoder,
    pub(crate) recipe: &'a Recipe,
    pub(crate) data: Data<'a>,
}

impl Trainer<'_> {
    /// Trains `block` (number `l`); `tick` is called once per step and may stop the run. Gives the best weights seen, as
    /// they will be stored.
    pub(crate) fn run(
        &self,
        l: usize,
        block: &Block,
        seed: u64,
        tick: &mut dyn FnMut() -> Result<()>,
    ) -> Result<(Block, Report)> {
        let recipe = self.recipe;
        let mut rng = Rng::new(seed, &format!("distill.blockwise/{l}"));
        let start = block.rounded(&recipe.dtype)?;
        let error = self.data.heldout_error(self.decoder, &start)?;
        let per_epoch = order::epoch(&self.data.lengths(), recipe.batch_sequences, &mut rng.clone()).len();
        let mut report = Report {
            block: l,
            status: "exact".to_owned(),
            error_before: error,
            error_after: error,
            learning_rate: recipe.learning_rate,
            attempts: 0,
            steps: 0,
            steps_planned: per_epoch * recipe.epochs,
            best_step: 0,
            curve: Vec::new(),
        };
        let trainable = Trainable::new(block, recipe.lora_rank, &mut rng.clone())?;
        if error == 0.0 || trainable.tensors().next().is_none() {
            return Ok((start, report));
        }
        drop(trainable);
        for attempts in 1..=recipe.retries + 1 {
            let learning_rate = recipe.learning_rate * RETRY_FACTOR.powi(attempts as i32 - 1);
            report = Report { learning_rate, attempts, steps: 0, curve: Vec::new(), ..report };
            if let Some(better) = self.attempt(block, &mut rng, &mut report, tick)? {
                return Ok((better, report));
            }
        }
        Ok((start, report))
    }

    /// Trains at the report's learning rate, which the report then tells; the best weights if they beat the start.
    fn attempt(
        &self,
        block: &Block,
        rng: &mut Rng,
        report: &mut Report,
        tick: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Option<Block>> {
        let (recipe, lengths, steps) = (self.recipe, self.data.lengths(), report.steps_planned);
        let per_epoch = steps / recipe.epochs;
        let trainable = Trainable::new(block, recipe.lora_rank, rng)?;
        let warmup = (recipe.warmup_fraction * steps as f64) as usize;
        let schedule = Schedule { peak: report.learning_rate, warmup, steps };
        let mut adam = AdamW::new(trainable.tensors(), recipe.clip);
        let (mut sum, mut since, mut best, mut diverged) = (0.0, 0, None, false);
        'training: for _ in 0..recipe.epochs {
            let batches = order::epoch(&lengths, recipe.batch_sequences, rng);
            for (i, batch) in batches.iter().enumerate() {
                tick()?;
                let Some(loss) = self.step(&trainable, &mut adam, batch, schedule.rate(report.steps))? else {
                    diverged = true;
                    break 'training;
                };
                report.steps += 1;
                (sum, since) = (sum + loss, since + 1);
                // The last of each of the epoch's equal parts.
                let part = |i: usize| i * recipe.evaluations_per_epoch / per_epoch;
                if part(i) == part(i + 1) {
                    continue;
                }
                let candidate = trainable.snapshot()?.rounded(&recipe.dtype)?;
                let heldout_error = self.data.heldout_error(self.decoder, &candidate)?;
                report.curve.push(Point { step: report.steps, loss: sum / f64::from(since), heldout_error });
                (sum, since) = (0.0, 0);
                if heldout_error < report.error_after {
                    (best, report.error_after, report.best_step) = (Some(candidate), heldout_error, report.steps);
                }
                if self.is_stuck(report) {
                    break 'training;
                }
            }
        }
        let status = if report.best_step > 0 { "trained" } else { "kept" };
        if diverged { "diverged" } else { status }.clone_into(&mut report.status);
        Ok(best)
    }

    /// Whether the last `patience` evaluations brought nothing better.
    fn is_stuck(&self, report: &Report) -> bool {
        let since = report.curve.iter().rev().take_while(|p| p.step > report.best_step).count();
        self.recipe.patience > 0 && since >= self.recipe.patience
    }

    /// One step on a batch of sequences; its loss, or `None` if loss or gradient are not finite.
    fn step(&self, trainable: &Trainable, adam: &mut AdamW, batch: &[usize], rate: f64) -> Result<Option<f64>> {
        let x = batch.iter().map(|&i| self.data.x.get(i)).collect::<Result<Vec<_>>>()?;
        let x = Tensor::cat(&x, 0).map_err(fault)?;
        let targets = batch.iter().map(|&i| self.data.target(i)).collect::<Result<Vec<_>>>()?;
        let lengths: Vec<usize> = targets.iter().map(|t| t.weights.len()).collect();
        let block = trainable.block()?;
        let (f, tape) = self.decoder.block_recorded(&block, &x, &lengths)?;
        let scale = self.data.scale * lengths.iter().sum::<usize>() as f64;
        let (loss, gradient) = objective::loss(&f, &targets, scale)?;
        if !loss.is_finite() {
            return Ok(None);
        }
        let (_, weights) = self.decoder.block_backward(&block, &x, tape, &gradient)?;
        match adam.step(trainable.tensors(), &trainable.gradients(&weights)?, rate) {
            Ok(_) => Ok(Some(loss)),
            Err(e) if e.class() == Class::Numerical => Ok(None),
            Err(e) => Err(e),
        }
    }
}

#[cfg(test)]
mod tests;
