//! AdamW (Loshchilov and Hutter, 2019, arXiv 1711.05101) without decay, with clipping by the global norm.
//!
//! m ← β₁m + (1 − β₁)g, v ← β₂v + (1 − β₂)g², w ← w − η·m̂/(√v̂ + ε), where m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ), and g is
//! the gradient scaled to at most the clipping norm. All in f32; the norm is summed in f64 in a fixed order.

use candle_core::{Tensor, Var};
use oops_core::{Fault, Result, bail_if};
use oops_model::{values, with_values};
use rayon::prelude::*;

use crate::fault;

const BETA1: f32 = 0.9;
const BETA2: f32 = 0.95;
const EPSILON: f32 = 1e-8;
/// Elements per parallel piece.
const PIECE: usize = 1 << 14;

/// First and second moments of one variable's gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// m, one value per weight.
    pub first: Vec<f32>,
    /// v, one value per weight.
    pub second: Vec<f32>,
}

/// The optimiser: variables and its state.
pub struct AdamW {
    vars: Vec<Var>,
    moments: Vec<Moments>,
    steps: i32,
    clip: f64,
}

impl AdamW {
    /// Zero moments for `vars`; gradients whose global norm exceeds `clip` are scaled down to it.
    pub fn new(vars: &[Var], clip: f64) -> Self {
        let zeros = |v: &Var| vec![0.0; v.elem_count()];
        let moments = vars.iter().map(|v| Moments { first: zeros(v), second: zeros(v) }).collect();
        Self { vars: vars.to_vec(), moments, steps: 0, clip }
    }

    /// The variables, in the order of [`Self::moments`].
    pub fn vars(&self) -> &[Var] {
        &self.vars
    }

    /// State: the moments of each variable.
    pub fn moments(&self) -> &[Moments] {
        &self.moments
    }

    /// State: steps done.
    pub fn steps(&self) -> i32 {
        self.steps
    }

    /// One step at learning rate `rate` with the gradient of each variable, in order; gives the norm before clipping.
    ///
    /// A missing gradient is a bug: some operation on the way to the loss has no backward pass.
    pub fn step(&mut self, gradients: &[Option<&Tensor>], rate: f64) -> Result<f64> {
        bail_if(gradients.len() != self.vars.len(), || Fault::internal("not one gradient per weight"))?;
        let lost = |i: usize| Fault::internal(format!("weight {i} got no gradient"));
        let all = gradients.iter().enumerate().map(|(i, g)| values(g.ok_or_else(|| lost(i))?));
        let all = all.collect::<Result<Vec<_>>>()?;
        let norm = norm(&all);
        bail_if(!norm.is_finite(), || Fault::numerical("the gradient is not finite"))?;
        let factor = if norm > self.clip { (self.clip / norm) as f32 } else { 1.0 };
        self.steps += 1;
        let (bias1, bias2) = (1.0 - BETA1.powi(self.steps), 1.0 - BETA2.powi(self.steps));
        let update = |(w, g, m, v): (&mut f32, f32, &mut f32, &mut f32)| {
            let g = g * factor;
            *m = BETA1 * *m + (1.0 - BETA1) * g;
            *v = BETA2 * *v + (1.0 - BETA2) * g * g;
            *w -= rate as f32 * (*m / bias1) / ((*v / bias2).sqrt() + EPSILON);
        };
        for ((var, grad), moments) in self.vars.iter().zip(&all).zip(&mut self.moments) {
            let mut weights = with_values(var, <[f32]>::to_vec)?;
            let state = moments.first.par_chunks_mut(PIECE).zip(moments.second.par_chunks_mut(PIECE));
            weights.par_chunks_mut(PIECE).zip(grad.par_chunks(PIECE)).zip(state).for_each(|((w, g), (m, v))| {
                w.iter_mut().zip(g).zip(m).zip(v).for_each(|(((w, g), m), v)| update((w, *g, m, v)));
            });
            Tensor::from_vec(weights, var.shape(), var.device()).and_then(|t| var.set(&t)).map_err(fault)?;
        }
        Ok(norm)
    }
}

/// √Σ g² over all gradients; pieces are fixed, so the order of additions is.
fn norm(gradients: &[Vec<f32>]) -> f64 {
    let square = |piece: &[f32]| piece.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>();
    let sums = gradients.iter().flat_map(|g| g.par_chunks(PIECE).map(square).collect::<Vec<_>>());
    sums.sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn var(values: &[f32]) -> Var {
        Var::new(values, &Device::Cpu).unwrap()
    }

    fn grad(values: &[f32]) -> Tensor {
        Tensor::new(values, &Device::Cpu).unwrap()
    }

    #[test]
    fn two_steps_match_a_calculation_by_hand() {
        let w = var(&[1.0, -2.0]);
        let mut adam = AdamW::new(std::slice::from_ref(&w), 10.0);
        // Step 1: m̂ = g, v̂ = g², so each weight moves by η against the sign of its gradient.
        assert!((adam.step(&[Some(&grad(&[3.0, -4.0]))], 0.1).unwrap() - 5.0).abs() < 1e-12);
        let now = w.to_vec1::<f32>().unwrap();
        assert!((now[0] - 0.9).abs() < 1e-6 && (now[1] + 1.9).abs() < 1e-6, "{now:?}");
        // Step 2 with g = (1, 0): m = (0.37, −0.36), v = (0.4775, 0.76); over 0.19 and 0.0975: m̂ = (1.947368, −1.894737),
        // √v̂ = (2.213013, 2.791931); ratios 0.879962 and −0.678648.
        adam.step(&[Some(&grad(&[1.0, 0.0]))], 0.1).unwrap();
        let now = w.to_vec1::<f32>().unwrap();
        assert!((now[0] - (0.9 - 0.087_996)).abs() < 1e-5 && (now[1] - (-1.9 + 0.067_865)).abs() < 1e-5, "{now:?}");
        assert_eq!(adam.steps(), 2);
        let m = &adam.moments()[0];
        assert!((m.first[0] - 0.37).abs() < 1e-6 && (m.second[1] - 0.76).abs() < 1e-6);
    }

    #[test]
    fn clipping_acts_on_the_norm_over_all_weights() {
        let vars = [var(&[0.0]), var(&[0.0])];
        let mut adam = AdamW::new(&vars, 1.0);
        adam.step(&[Some(&grad(&[3.0])), Some(&grad(&[4.0]))], 0.1).unwrap();
        // g = (0.6, 0.8) after clipping, m = (1 − β₁)·g.
        assert!((adam.moments()[0].first[0] - 0.06).abs() < 1e-7 && (adam.moments()[1].first[0] - 0.08).abs() < 1e-7);
    }

    #[test]
    fn a_lost_gradient_is_an_error() {
        let vars = [var(&[0.0]), var(&[0.0])];
        assert!(AdamW::new(&vars, 1.0).step(&[Some(&grad(&[3.0])), None], 0.1).is_err());
        assert!(AdamW::new(&vars, 1.0).step(&[Some(&grad(&[f32::NAN])), Some(&grad(&[1.0]))], 0.1).is_err());
    }
}
