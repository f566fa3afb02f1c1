//! Errors of outputs measured in another metric than the Euclidean one.
//!
//! With G = L Lᵀ the error tr(G Dᵀ H D) of a difference D of weights is the Euclidean one of D L: solvers that minimise
//! ‖X D‖² minimise it in the metric when they are given W L for W. The best repair itself does not depend on G.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatMut, MatRef, Par};
use oops_core::{Fault, Result, bail_if};
use rayon::prelude::*;

use crate::damped::Damped;
use crate::symmetric::Symmetric;

/// Rows that one task multiplies.
const ROWS: usize = 64;

/// W L for W (n × outputs, row-major) and G + λ m I = L Lᵀ, m = mean diag G, G the `metric` (outputs × outputs).
///
/// Fails when the sizes differ and when no damping makes G positive definite.
pub fn in_metric(weight: &[f32], metric: &Symmetric<'_>, lambda: f64) -> Result<Vec<f32>> {
    let d = metric.n();
    bail_if(d == 0 || !weight.len().is_multiple_of(d), || {
        Fault::internal(format!("a weight of {} entries for a metric of {d} outputs", weight.len()))
    })?;
    let all: Vec<usize> = (0..d).collect();
    let factor = Damped::new(metric, &all, lambda)?
        .factor
        .ok_or_else(|| Fault::numerical("the metric of the outputs is not positive definite even when damped"))?;
    let lower = factor.lower();
    let lower = Mat::<f64>::from_fn(d, d, |i, j| if i >= j { lower[(i, j)] } else { 0.0 });
    let mut out = vec![0.0; weight.len()];
    out.par_chunks_mut(ROWS * d).zip(weight.par_chunks(ROWS * d)).for_each(|(out, w)| {
        let w = MatRef::from_row_major_slice(w, w.len() / d, d);
        let w = Mat::<f64>::from_fn(w.nrows(), d, |i, j| f64::from(w[(i, j)]));
        let mut product = Mat::<f64>::zeros(w.nrows(), d);
        matmul(product.as_mut(), Accum::Replace, w.as_ref(), lower.as_ref(), 1.0, Par::Seq);
        let mut out = MatMut::from_row_major_slice_mut(out, w.nrows(), d);
        (0..w.nrows()).for_each(|i| (0..d).for_each(|j| out[(i, j)] = product[(i, j)] as f32));
    });
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{massive_spectrum, normal, with_threads};
    use crate::{Linear, error_energy, ridge};

    #[test]
    fn a_case_worked_by_hand() {
        // G = [4 2; 2 5] = L Lᵀ with L = [2 0; 1 2].
        let metric = Symmetric::packed(2, &[4.0, 2.0, 5.0]).unwrap();
        assert_eq!(in_metric(&[1.0, 0.0, 0.0, 3.0], &metric, 0.0).unwrap(), [2.0, 0.0, 3.0, 6.0]);
    }

    #[test]
    fn the_error_of_what_comes_out_is_the_error_in_the_metric() {
        let (n, d) = (70, 9);
        let (packed, w) = (massive_spectrum(51, 3 * n, n), normal(52, n * d));
        let metric = massive_spectrum(53, 5 * d, d);
        let (h, g) = (Symmetric::packed(n, &packed).unwrap(), Symmetric::packed(d, &metric).unwrap());
        let kept: Vec<usize> = (0..n).filter(|j| j % 4 != 2).collect();
        let turned = in_metric(&w, &g, 0.0).unwrap();
        let linear = Linear::new(h, &turned, d).unwrap();
        let v = ridge(&linear, &kept, 1e-3).unwrap().weight;
        let energy = error_energy(&linear, &kept, &v, None).unwrap();
        // tr(G Dᵀ H D) with D from the repair of W itself.
        let plain = Linear::new(h, &w, d).unwrap();
        let repaired = ridge(&plain, &kept, 1e-3).unwrap().weight;
        let difference = |j: usize, k: usize| {
            let v = kept.binary_search(&j).map_or(0.0, |i| repaired[i * d + k]);
            f64::from(w[j * d + k]) - f64::from(v)
        };
        let difference = Mat::<f64>::from_fn(n, d, difference);
        let (hm, gm) = (Mat::<f64>::from_fn(n, n, |i, j| h.get(i, j)), Mat::<f64>::from_fn(d, d, |i, j| g.get(i, j)));
        let product = &gm * difference.transpose() * &hm * &difference;
        let expected: f64 = (0..d).map(|i| product[(i, i)]).sum();
        assert!((energy / expected - 1.0).abs() < 1e-3, "{energy} {expected}");
    }

    #[test]
    fn the_same_bits_for_one_and_two_threads_and_wrong_sizes_are_faults() {
        let metric = massive_spectrum(54, 30, 10);
        let g = Symmetric::packed(10, &metric).unwrap();
        let w = normal(55, 300 * 10);
        let run = |threads| with_threads(threads, || in_metric(&w, &g, 1e-2).unwrap());
        assert!(run(1) == run(2));
        assert!(in_metric(&w[..9], &g, 0.0).is_err());
    }
}
