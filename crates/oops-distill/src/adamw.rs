//! AdamW (Loshchilov and Hutter, 2019, arXiv 1711.05101) without decay, with clipping by the global norm.
//!
//! m ← β₁m + (1 − β₁)g, v ← β₂v + (1 − β₂)g², w ← w − η·m̂/(√v̂ + ε), where m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ), and g is
//! the gradient scaled to at most the clipping norm. All in f32; the norm is summed in f64 in a fixed order.

use std::cell::RefCell;

use candle_core::{CpuStorage, InplaceOp1, Layout, Tensor};
use oops_core::{Fault, Result, bail_if};
use oops_model::with_values;
use rayon::prelude::*;

use crate::fault;

const BETA1: f32 = 0.9;
const BETA2: f32 = 0.95;
const EPSILON: f32 = 1e-8;
/// Elements per parallel piece.
const PIECE: usize = 1 << 14;

/// First and second moments of one tensor's gradient.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Moments {
    /// m, one value per weight.
    pub(crate) first: Vec<f32>,
    /// v, one value per weight.
    pub(crate) second: Vec<f32>,
}

/// The optimiser's state.
pub(crate) struct AdamW {
    /// The moments of each tensor, in order.
    pub(crate) moments: Vec<Moments>,
    /// Steps done.
    pub(crate) steps: i32,
    clip: f64,
}

impl AdamW {
    /// Zero moments for `weights`; gradients whose global norm exceeds `clip` are scaled down to it.
    pub(crate) fn new<'a>(weights: impl IntoIterator<Item = &'a Tensor>, clip: f64) -> Self {
        let zeros = |w: &Tensor| vec![0.0; w.elem_count()];
        let moments = weights.into_iter().map(|w| Moments { first: zeros(w), second: zeros(w) }).collect();
        Self { moments, steps: 0, clip }
    }

    /// One step at learning rate `rate`: changes the values of `weights` where they lie, by the gradient of each, in the
    /// order of [`Self::new`]; gives the gradient's norm before clipping.
    pub(crate) fn step<'a>(
        &mut self,
        weights: impl IntoIterator<Item = &'a Tensor>,
        gradients: &[Tensor],
        rate: f64,
    ) -> Result<f64> {
        let weights: Vec<&Tensor> = weights.into_iter().collect();
        let fits = weights.len() == gradients.len() && weights.len() == self.moments.len();
        let alike = fits && weights.iter().zip(gradients).all(|(w, g)| w.dims() == g.dims());
        bail_if(!alike, || Fault::internal("not one gradient per weight"))?;
        let norm = norm(gradients)?;
        bail_if(!norm.is_finite(), || Fault::numerical("the gradient is not finite"))?;
        let factor = if norm > self.clip { (self.clip / norm) as f32 } else { 1.0 };
        self.steps += 1;
        let corrections = [1.0 - BETA1.powi(self.steps), 1.0 - BETA2.powi(self.steps)];
        for ((weight, gradient), moments) in weights.iter().zip(gradients).zip(&mut self.moments) {
            let update = |g: &[f32]| {
                let state = RefCell::new(moments);
                weight.inplace_op1(&Update { gradient: g, state, factor, rate: rate as f32, corrections })
            };
            with_values(gradient, update)?.map_err(fault)?;
        }
        Ok(norm)
    }
}

/// The change of one tensor.
struct Update<'a> {
    gradient: &'a [f32],
    state: RefCell<&'a mut Moments>,
    /// Scales the gradient to the clipping norm.
    factor: f32,
    rate: f32,
    /// 1 − βᵗ of both moments.
    corrections: [f32; 2],
}

impl InplaceOp1 for Update<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let (CpuStorage::F32(weights), Some((start, end))) = (storage, layout.contiguous_offsets()) else {
            return Err(candle_core::Error::msg("weights in training must be contiguous f32"));
        };
        let moments = &mut **self.state.borrow_mut();
        let state = moments.first.par_chunks_mut(PIECE).zip(moments.second.par_chunks_mut(PIECE));
        let (factor, rate, [bias1, bias2]) = (self.factor, self.rate, self.corrections);
        weights[start..end].par_chunks_mut(PIECE).zip(self.gradient.par_chunks(PIECE)).zip(state).for_each(
            |((w, g), (m, v))| {
                for (((w, g), m), v) in w.iter_mut().zip(g).zip(m).zip(v) {
                    let g = g * factor;
                    *m = BETA1 * *m + (1.0 - BETA1) * g;
                    *v = BETA2 * *v + (1.0 - BETA2) * g * g;
                    *w -= rate * (*m / bias1) / ((*v / bias2).sqrt() + EPSILON);
                }
            },
        );
        Ok(())
    }
}

/// √Σ g² over all gradients; pieces are fixed, so the order of additions is.
fn norm(gradients: &[Tensor]) -> Result<f64> {
    let square = |piece: &[f32]| piece.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>();
    let sum = |g: &Tensor| with_values(g, |g| g.par_chunks(PIECE).map(square).collect::<Vec<f64>>());
    let sums = gradients.iter().map(sum).collect::<Result<Vec<_>>>()?;
    Ok(sums.iter().flatten().sum::<f64>().sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use oops_model::{values, vector};

    fn tensor(values: &[f32]) -> Tensor {
        vector(values.to_vec()).unwrap()
    }

    #[test]
    fn two_steps_match_a_calculation_by_hand() {
        let w = [tensor(&[1.0, -2.0])];
        let mut adam = AdamW::new(&w, 10.0);
        // Step 1: m̂ = g, v̂ = g², so each weight moves by η against the sign of its gradient.
        assert!((adam.step(&w, &[tensor(&[3.0, -4.0])], 0.1).unwrap() - 5.0).abs() < 1e-12);
        let now = values(&w[0]).unwrap();
        assert!((now[0] - 0.9).abs() < 1e-6 && (now[1] + 1.9).abs() < 1e-6, "{now:?}");
        // Step 2 with g = (1, 0): m = (0.37, −0.36), v = (0.4775, 0.76); over 0.19 and 0.0975: m̂ = (1.947368, −1.894737),
        // √v̂ = (2.213013, 2.791931); ratios 0.879962 and −0.678648.
        adam.step(&w, &[tensor(&[1.0, 0.0])], 0.1).unwrap();
        let now = values(&w[0]).unwrap();
        assert!((now[0] - (0.9 - 0.087_996)).abs() < 1e-5 && (now[1] - (-1.9 + 0.067_865)).abs() < 1e-5, "{now:?}");
        assert_eq!(adam.steps, 2);
        let m = &adam.moments[0];
        assert!((m.first[0] - 0.37).abs() < 1e-6 && (m.second[1] - 0.76).abs() < 1e-6);
    }

    #[test]
    fn clipping_acts_on_the_norm_over_all_weights() {
        let weights = [tensor(&[0.0]), tensor(&[0.0])];
        let mut adam = AdamW::new(&weights, 1.0);
        adam.step(&weights, &[tensor(&[3.0]), tensor(&[4.0])], 0.1).unwrap();
        // g = (0.6, 0.8) after clipping, m = (1 − β₁)·g.
        assert!((adam.moments[0].first[0] - 0.06).abs() < 1e-7 && (adam.moments[1].first[0] - 0.08).abs() < 1e-7);
    }

    #[test]
    fn a_lost_or_infinite_gradient_is_an_error_and_moves_nothing() {
        let weights = [tensor(&[0.0]), tensor(&[0.0])];
        let mut adam = AdamW::new(&weights, 1.0);
        assert!(adam.step(&weights, &[tensor(&[3.0])], 0.1).is_err());
        assert!(adam.step(&weights, &[tensor(&[3.0]), tensor(&[1.0, 2.0])], 0.1).is_err());
        assert!(adam.step(&weights, &[tensor(&[f32::NAN]), tensor(&[1.0])], 0.1).is_err());
        assert_eq!((values(&weights[1]).unwrap(), adam.steps), (vec![0.0], 0));
    }
}
