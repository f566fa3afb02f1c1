//! The branch of an FFN as a linear map of its weights: what a Gauss–Newton step needs, without a tape.
//!
//! With a row x of the normalised stream, g = G x, u = U x (biases inside) and h = silu(g) ⊙ u, the branch is D h. Near its
//! weights it is D h + J δ with J δ = δD h + D (a ⊙ δG x + s ⊙ δU x), where s = silu(g) and a = silu′(g) ⊙ u.

use candle_core::Tensor;
use oops_core::Result;

use super::{Decoder, fast::linear, fast::normed, flat::flat};
use crate::{Block, kernels, lift::Lift};

/// A gradient with respect to gate, up and down, or a change of them: `[ffn, hidden]`, `[ffn, hidden]`, `[hidden, ffn]`,
/// row-major. Biases stay.
pub type FfnStep = [Vec<f32>; 3];

/// The FFN's branch of one block around its weights, on some tokens.
pub struct LinearizedFfn {
    rows: usize,
    hidden: usize,
    ffn: usize,
    /// D, `[hidden, ffn]`.
    down: Vec<f32>,
    /// x, `[rows, hidden]`.
    pub input: Vec<f32>,
    /// h, `[rows, ffn]`.
    pub inner: Vec<f32>,
    /// a and s, `[rows, ffn]` each: how h follows the rows' gate and up.
    pub slopes: [Vec<f32>; 2],
}

impl LinearizedFfn {
    /// Of `block` on the stream `x` `[rows, hidden]` behind its attention.
    pub(super) fn new(d: &Decoder, block: &Block, x: &Tensor) -> Result<Self> {
        let rows = x.dim(0).lift()?;
        let input = normed(d, &flat(x)?, &block.ffn_norm)?;
        let (mut gate, mut up) = (linear(&input, rows, &block.gate)?, linear(&input, rows, &block.up)?);
        let inner = kernels::swiglu_slopes(&mut gate, &mut up);
        let down = flat(&block.down.weight)?.to_vec();
        Ok(Self { rows, hidden: d.hidden, ffn: block.dims.ffn, down, input, inner, slopes: [gate, up] })
    }

    /// J δ for every row, `[rows, hidden]`.
    pub fn along(&self, step: [&[f32]; 3]) -> Vec<f32> {
        let project = |weight| kernels::linear(&self.input, self.rows, weight, None, self.ffn);
        let [mut gate, up] = [project(step[0]), project(step[1])];
        kernels::combine(&mut gate, &self.slopes[0], &up, &self.slopes[1]);
        let mut out = kernels::linear(&gate, self.rows, &self.down, None, self.hidden);
        kernels::add_into(&mut out, &kernels::linear(&self.inner, self.rows, step[2], None, self.hidden));
        out
    }

    /// Jᵀ r, summed over the rows of `r` `[rows, hidden]`.
    pub fn back(&self, r: &[f32]) -> FfnStep {
        let mut through = vec![0.0; self.rows * self.ffn];
        kernels::linear_grad(&mut through, r, self.rows, &self.down, self.hidden);
        let weight = |slope: &[f32]| {
            let mut grad = through.clone();
            kernels::scale_by(&mut grad, slope);
            kernels::weight_grad(&grad, &self.input, self.rows)
        };
        let [gate, up] = &self.slopes;
        [weight(gate), weight(up), kernels::weight_grad(r, &self.inner, self.rows)]
    }
}

#[cfg(test)]
mod tests {
    use oops_core::BlockDims;

    use super::*;
    use crate::{
        Family,
        fixtures::{config, random, random_block},
        kernels::testing::{noise, with_threads},
        matrix, values,
    };

    const HIDDEN: usize = 16;
    const ROWS: usize = 11;
    const DIMS: BlockDims = BlockDims { query_heads: 0, kv_heads: 0, head_dim: 8, ffn: 24 };

    fn case() -> (Decoder, Block, Tensor) {
        let config = config(Family::Qwen3, HIDDEN, vec![DIMS]);
        let mut block = random_block(HIDDEN, DIMS, 3);
        // All that is left of attention.
        block.o.bias = None;
        (Decoder::new(&config, ROWS).unwrap(), block, random(&[ROWS, HIDDEN], 4, 1.0))
    }

    fn step() -> FfnStep {
        [5, 6, 7].map(|seed| noise(HIDDEN * DIMS.ffn, seed))
    }

    fn moved(b: &Block, step: &FfnStep, by: f32) -> Block {
        let add = |layer: &crate::Linear, step: &[f32]| {
            let (rows, cols) = layer.weight.dims2().unwrap();
            let sum = values(&layer.weight).unwrap().iter().zip(step).map(|(w, s)| w + by * s).collect();
            crate::Linear { weight: matrix(sum, rows, cols).unwrap(), bias: layer.bias.clone() }
        };
        Block { gate: add(&b.gate, &step[0]), up: add(&b.up, &step[1]), down: add(&b.down, &step[2]), ..b.clone() }
    }

    #[test]
    fn along_a_step_it_is_the_difference_quotient() {
        let (d, b, x) = case();
        let out = |by| {
            let y = d.block(&moved(&b, &step(), by), &x, &[ROWS], &mut |_, _| Ok(())).unwrap();
            values(&y).unwrap().into_iter().map(f64::from).collect::<Vec<_>>()
        };
        let (up, down, h) = (out(4e-3), out(-4e-3), 4e-3);
        let found = d.linearize_ffn(&b, &x).unwrap().along(step().each_ref().map(Vec::as_slice));
        for ((u, l), j) in up.iter().zip(&down).zip(found) {
            assert!(((u - l) / (2.0 * h) - f64::from(j)).abs() < 5e-3 * (1.0 + f64::from(j.abs())), "{u} {l} {j}");
        }
    }

    #[test]
    fn back_is_the_transpose_of_along() {
        let (d, b, x) = case();
        let (map, r) = (d.linearize_ffn(&b, &x).unwrap(), noise(ROWS * HIDDEN, 9));
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
        let there = dot(&map.along(step().each_ref().map(Vec::as_slice)), &r);
        let back: f64 = map.back(&r).iter().zip(&step()).map(|(a, b)| dot(a, b)).sum();
        assert!((there - back).abs() < 1e-4 * (1.0 + there.abs()), "{there} {back}");
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let (d, b, x) = case();
        let run = |threads| with_threads(threads, || d.linearize_ffn(&b, &x).unwrap().back(&noise(ROWS * HIDDEN, 9)));
        assert_eq!(run(1), run(2));
    }
}
