//! AdamW (Loshchilov and Hutter, 2019, arXiv 1711.05101) with clipping by the global norm.

use candle_core::{Tensor, Var, backprop::GradStore};
use oops_core::{Fault, Result};
use oops_model::{values, with_values};

use crate::network::fault;

const BETA1: f32 = 0.9;
const BETA2: f32 = 0.97;
const EPSILON: f32 = 1e-8;
/// Pull towards 0 per unit of learning rate, on matrices.
const DECAY: f32 = 0.1;
/// Largest norm of the whole gradient.
const CLIP: f64 = 1.0;

/// Optimiser state: first and second moments per variable.
pub(crate) struct AdamW {
    vars: Vec<Var>,
    moments: Vec<(Vec<f32>, Vec<f32>)>,
    step: i32,
}

impl AdamW {
    /// Zero moments for `vars`.
    pub(crate) fn new(vars: &[Var]) -> Self {
        let moments = vars.iter().map(|v| (vec![0.0; v.elem_count()], vec![0.0; v.elem_count()])).collect();
        Self { vars: vars.to_vec(), moments, step: 0 }
    }

    /// One step at learning rate `rate`; gives the norm of the gradient before clipping.
    ///
    /// A variable without a gradient is a bug: some operation on its way to the loss has no backward pass.
    pub(crate) fn step(&mut self, grads: &GradStore, rate: f64) -> Result<f64> {
        let lost = || Fault::internal("a weight got no gradient");
        let all = self.vars.iter().map(|v| values(grads.get(v).ok_or_else(lost)?)).collect::<Result<Vec<_>>>()?;
        let norm = all.iter().flatten().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        let clip = (CLIP / norm.max(CLIP)) as f32;
        self.step += 1;
        let bias1 = 1.0 - BETA1.powi(self.step);
        let bias2 = 1.0 - BETA2.powi(self.step);
        for ((var, grad), (m, v)) in self.vars.iter().zip(all).zip(&mut self.moments) {
            let decay = if var.rank() > 1 { DECAY } else { 0.0 };
            let mut weights = with_values(var, <[f32]>::to_vec)?;
            for (((w, g), m), v) in weights.iter_mut().zip(grad).zip(m).zip(v) {
                let g = g * clip;
                *m = BETA1 * *m + (1.0 - BETA1) * g;
                *v = BETA2 * *v + (1.0 - BETA2) * g * g;
                let direction = (*m / bias1) / ((*v / bias2).sqrt() + EPSILON) + decay * *w;
                *w -= rate as f32 * direction;
            }
            let fresh = Tensor::from_vec(weights, var.shape(), var.device());
            fresh.and_then(|t| var.set(&t)).map_err(fault)?;
        }
        Ok(norm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_step_goes_by_the_rate_against_the_gradient() {
        // m/bias1 = g and v/bias2 = g², so the direction is the sign of g, whatever its size.
        let w = Var::new(&[3.0_f32, -2.0], &candle_core::Device::Cpu).unwrap();
        let grads = (w.as_tensor() * 5.0).unwrap().sqr().unwrap().sum_all().unwrap().backward().unwrap();
        AdamW::new(std::slice::from_ref(&w)).step(&grads, 0.1).unwrap();
        let now = w.to_vec1::<f32>().unwrap();
        assert!((now[0] - 2.9).abs() < 1e-6 && (now[1] + 1.9).abs() < 1e-6, "{now:?}");
    }

    #[test]
    fn a_lost_gradient_is_an_error() {
        let (a, b) = (
            Var::new(1.0_f32, &candle_core::Device::Cpu).unwrap(),
            Var::new(1.0_f32, &candle_core::Device::Cpu).unwrap(),
        );
        let grads = a.sqr().unwrap().backward().unwrap();
        assert!(AdamW::new(&[a, b]).step(&grads, 0.1).is_err());
    }
}
