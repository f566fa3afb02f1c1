//! SwiGLU's gate: silu(g) ⊙ u with silu(g) = g / (1 + e^−g) (Shazeer 2020, arXiv 2002.05202).

use rayon::prelude::*;

use super::vector::exp;

/// `gate` ← silu(`gate`) ⊙ `up`.
pub(crate) fn swiglu(gate: &mut [f32], up: &[f32]) {
    const CHUNK: usize = 1 << 14;
    gate.par_chunks_mut(CHUNK).zip(up.par_chunks(CHUNK)).for_each(|(gate, up)| swiglu_piece(gate, up));
}

/// [`swiglu`] on this thread.
pub(crate) fn swiglu_piece(gate: &mut [f32], up: &[f32]) {
    simd!(|| gate.iter_mut().zip(up).for_each(|(g, u)| *g = *g / (1.0 + exp(-*g)) * u));
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
}
