//! SwiGLU's gate: silu(g) ⊙ u with silu(g) = g / (1 + e^−g) (Shazeer 2020, arXiv 2002.05202).

use rayon::prelude::*;

use super::vector::exp;

/// Values per task.
const CHUNK: usize = 1 << 14;

/// `gate` ← silu(`gate`) ⊙ `up`.
pub(crate) fn swiglu(gate: &mut [f32], up: &[f32]) {
    gate.par_chunks_mut(CHUNK).zip(up.par_chunks(CHUNK)).for_each(|(gate, up)| swiglu_piece(gate, up));
}

/// [`swiglu`] on this thread.
pub(crate) fn swiglu_piece(gate: &mut [f32], up: &[f32]) {
    simd!(|| gate.iter_mut().zip(up).for_each(|(g, u)| *g = *g / (1.0 + exp(-*g)) * u));
}

/// Gives silu(`gate`) ⊙ `up`; `gate` becomes its derivative by the gate, silu′(g)·u, and `up` that by up, silu(g).
pub(crate) fn swiglu_slopes(gate: &mut [f32], up: &mut [f32]) -> Vec<f32> {
    let mut out = vec![0.0; gate.len()];
    let slopes = gate.par_chunks_mut(CHUNK).zip(up.par_chunks_mut(CHUNK));
    out.par_chunks_mut(CHUNK).zip(slopes).for_each(|(out, (gate, up))| {
        simd!(|| {
            for ((out, g), u) in out.iter_mut().zip(gate).zip(up) {
                let sigma = 1.0 / (1.0 + exp(-*g));
                let silu = *g * sigma;
                *out = silu * *u;
                *g = *u * sigma * (1.0 + *g * (1.0 - sigma));
                *u = silu;
            }
        });
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{max_diff, noise};

    #[test]
    fn matches_the_formula_in_f64_also_far_out() {
        let gate: Vec<f32> = noise(20_000, 1).iter().map(|v| v * 120.0).collect();
        let up = noise(20_000, 2);
        let mut out = gate.clone();
        swiglu(&mut out, &up);
        let exact = |g: f32, u: f32| (f64::from(g) / (1.0 + (-f64::from(g)).exp()) * f64::from(u)) as f32;
        let expected: Vec<f32> = gate.iter().zip(&up).map(|(g, u)| exact(*g, *u)).collect();
        assert!(max_diff(&out, &expected) < 2e-5);
    }

    #[test]
    fn slopes_are_those_of_the_gradient() {
        let (gate, up) = (noise(300, 3), noise(300, 4));
        let (mut by_gate, mut by_up, mut expected) = (gate.clone(), up.clone(), gate.clone());
        let out = swiglu_slopes(&mut by_gate, &mut by_up);
        swiglu(&mut expected, &up);
        let (dgate, dup) = crate::kernels::swiglu_grad(&gate, &up, &[1.0; 300]);
        assert!(max_diff(&out, &expected) < 1e-6 && max_diff(&by_gate, &dgate) < 1e-6 && max_diff(&by_up, &dup) < 1e-6);
    }
}
