//! Gate, up and down of one FFN together: Gauss–Newton steps, each a quadratic program that conjugate gradients solve.
//!
//! With θ the three weights, f(x; θ) the FFN on a row x of the stream behind attention and y what that stream shall be
//! behind the FFN, a step minimises Σ_t w_t ‖y_t − x_t − f(x_t; θ) − J_t δ‖² / T + λ δᵀ M δ. The iterates, judged on
//! held-out tokens, are what stops: the best one becomes the next θ.

mod system;

use oops_artifact::Split;
use oops_core::{Result, finite::check_finite};
use oops_linalg::Conjugate;
use oops_model::{Block, Decoder, Linear, Shelf, matrix, values, with_values};
use serde::{Deserialize, Serialize};

use crate::{
    batch::{Batch, token_roots, token_weights},
    options::Joint,
};
use system::System;

/// What refining one FFN came to; errors are Σ w‖y − ŷ‖² / Σ w‖y − x‖² on the judging tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refined {
    pub(crate) error_before: f64,
    pub(crate) error_after: f64,
    /// The error behind every iteration, step by step.
    pub(crate) iterates: Vec<Vec<f64>>,
}

/// The tokens of one FFN: the stream in front of it, and what it shall be behind.
pub(crate) struct Fit<'a> {
    decoder: &'a Decoder,
    batches: &'a [Batch],
    x: &'a Shelf,
    y: &'a Shelf,
    /// w of every token, batch by batch.
    weights: Vec<Vec<f32>>,
    joint: Joint,
    /// Asks whether to stop.
    tick: &'a dyn Fn() -> Result<()>,
}

impl<'a> Fit<'a> {
    pub(crate) fn new(
        joint: Joint,
        decoder: &'a Decoder,
        batches: &'a [Batch],
        [x, y]: [&'a Shelf; 2],
        tick: &'a dyn Fn() -> Result<()>,
    ) -> Result<Self> {
        let law = token_weights(batches, joint.kappa, |i| y.get(i))?;
        let weights = |i: usize| -> Result<Vec<f32>> {
            let roots = token_roots(&y.get(i)?, &law)?.map(|r| values(&r)).transpose()?;
            Ok(roots.map_or_else(|| vec![1.0; y.rows(i)], |r| r.iter().map(|r| r * r).collect()))
        };
        let weights = (0..y.len()).map(weights).collect::<Result<_>>()?;
        Ok(Self { decoder, batches, x, y, weights, joint, tick })
    }

    /// Refines `block`, which has no attention. Some token must judge.
    pub(crate) fn run(&self, mut block: Block) -> Result<(Block, Refined)> {
        let energy = self.judged(|i| self.squares(i, &self.x.get(i)?))?;
        let error = |block: &Block| -> Result<f64> {
            let all = self.judged(|i| {
                let out = self.decoder.block(block, &self.x.get(i)?, &self.batches[i].lengths, &mut |_, _| Ok(()))?;
                self.squares(i, &out)
            })?;
            Ok(if all == 0.0 { 0.0 } else { all / energy })
        };
        let before = error(&block)?;
        check_finite(&[before], "the error of an FFN before it is refined")?;
        let mut refined = Refined { error_before: before, error_after: before, iterates: Vec::new() };
        for _ in 0..self.joint.steps {
            let (system, gradient) = System::gather(self, &block)?;
            let direction = system.precondition(&gradient)?;
            let (mut cg, start, mut best, mut errors) =
                (Conjugate::new(gradient, direction), block.clone(), None, vec![]);
            for iteration in 0..self.joint.iterations {
                if iteration > 0 {
                    cg.turn(&system.precondition(cg.residual())?);
                }
                if !cg.advance(&system.product(self, &start, cg.direction())?) {
                    break;
                }
                let candidate = moved(&start, cg.solution())?;
                errors.push(error(&candidate)?);
                // Not a number is never better.
                if errors[iteration] < refined.error_after {
                    (refined.error_after, best) = (errors[iteration], Some(candidate));
                }
            }
            refined.iterates.push(errors);
            let Some(best) = best else { break };
            block = best;
        }
        Ok((block, refined))
    }

    /// The batches that repairs are fitted on.
    fn fitted(&self) -> impl Iterator<Item = usize> {
        (0..self.batches.len()).filter(|&i| self.batches[i].split == Split::Fit)
    }

    /// Sum over the batches with tokens that judge.
    fn judged(&self, of: impl Fn(usize) -> Result<f64>) -> Result<f64> {
        (0..self.batches.len()).filter(|&i| self.batches[i].judges.contains(&true)).map(of).sum()
    }

    /// Σ w‖y − `out`‖² over the tokens of batch `i` that judge.
    fn squares(&self, i: usize, out: &candle_core::Tensor) -> Result<f64> {
        let (y, weights) = (self.y.get(i)?, &self.weights[i]);
        let width = (y.elem_count() / weights.len().max(1)).max(1);
        let square = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
        with_values(&y, |y| {
            with_values(out, |out| {
                let rows = y.chunks_exact(width).zip(out.chunks_exact(width)).zip(weights);
                let judging = rows.zip(&self.batches[i].judges).filter(|(_, judges)| **judges);
                judging.map(|(((y, out), w), _)| f64::from(*w) * square(y, out)).sum()
            })
        })?
    }
}

/// Numbers of weights in gate, up and down.
fn sizes(block: &Block) -> [usize; 3] {
    [&block.gate, &block.up, &block.down].map(|l| l.weight.elem_count())
}

/// A vector of all weights, taken apart.
fn parts(all: &[f32], [gate, up, _]: [usize; 3]) -> [&[f32]; 3] {
    [&all[..gate], &all[gate..gate + up], &all[gate + up..]]
}

/// `block` with its FFN's weights changed by `step`.
fn moved(block: &Block, step: &[f32]) -> Result<Block> {
    let mut out = block.clone();
    for (layer, step) in [&mut out.gate, &mut out.up, &mut out.down].into_iter().zip(parts(step, sizes(block))) {
        let (rows, cols) = layer.weight.dims2().map_err(crate::forward::fault)?;
        let sum = with_values(&layer.weight, |w| w.iter().zip(step).map(|(w, s)| w + s).collect())?;
        *layer = Linear { weight: matrix(sum, rows, cols)?, bias: layer.bias.clone() };
    }
    Ok(out)
}

/// The bytes that a refinement holds beside the streams: vectors of all weights of an FFN of `n` channels on a stream of
/// width `d` (four of the equations, four of blocks and what they become), a factor beside a Gram matrix, and what
/// a batch of `rows` tokens takes on its way there and back.
pub(crate) fn bytes(n: u64, d: u64, rows: u64) -> u64 {
    let weights = 3 * n * d;
    4 * (8 * weights + rows * (9 * n + 4 * d)) + 12 * (n * n + d * d)
}

#[cfg(test)]
mod tests;
