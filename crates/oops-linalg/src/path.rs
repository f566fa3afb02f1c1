//! One repair for several dampings: the right sides are multiplied out once; each damping costs its own Cholesky factor
//! and solve.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatMut, Par};
use oops_core::{Fault, Result, bail_if};
use rayon::prelude::*;

use crate::damped::{Damped, SolveStatus};
use crate::dense::Dense;
use crate::linear::Linear;
use crate::ridge::{Ridge, plain_cut, weight_block};
use crate::shift::Shift;

/// Repairs `linear` for the sorted list `kept` as [`crate::ridge`] does, once for each of `lambdas`, with the target
/// X W + D of a [`Shift`] if there is one: V = W_S + (H_SS + λ m I)⁻¹ (H_SP W_P + G_S).
///
/// Memory beyond the results: one |S| × |S| and one |S| × outputs matrix in f64, however many dampings.
pub fn ridge_path(
    linear: &Linear<'_>,
    kept: &[usize],
    lambdas: &[f64],
    shift: Option<&Shift<'_>>,
) -> Result<Vec<Ridge>> {
    let h = linear.gram();
    h.check_channels(kept)?;
    shift.map_or(Ok(()), |s| s.check(linear))?;
    let removed = h.others(kept);
    if kept.is_empty() || (removed.is_empty() && shift.is_none()) {
        return Ok(lambdas.iter().map(|_| plain_cut(linear, kept, SolveStatus::Solved, 0.0)).collect());
    }
    let sides = right_sides(linear, kept, &removed, shift)?;
    lambdas.iter().map(|&lambda| Ok(solve(linear, kept, Damped::new(h, kept, lambda)?, &sides))).collect()
}

/// Outputs that one task solves for; depends on their number alone.
fn width(outputs: usize) -> usize {
    if outputs > 1024 { 128 } else { 64 }
}

/// H_SP W_P + G_S, |S| × outputs.
fn right_sides(linear: &Linear<'_>, kept: &[usize], removed: &[usize], shift: Option<&Shift<'_>>) -> Result<Mat<f64>> {
    let coupling = Dense::gather(kept, removed, |i, j| linear.gram().get(i, j));
    bail_if(!coupling.is_finite(), || Fault::data("the Gram matrix has an entry that is not finite"))?;
    let (d, width) = (linear.outputs(), width(linear.outputs()));
    let mut sides = Mat::<f64>::zeros(kept.len(), d);
    sides.as_mut().par_col_chunks_mut(width).enumerate().for_each(|(block, mut x)| {
        let w = weight_block(linear, removed, block * width, x.ncols());
        matmul(x.as_mut(), Accum::Replace, coupling.view(), w.as_ref(), 1.0, Par::Seq);
        if let Some(shift) = shift {
            for j in 0..x.ncols() {
                let column = block * width + j;
                kept.iter().enumerate().for_each(|(i, &c)| x[(i, j)] += f64::from(shift.cross[c * d + column]));
            }
        }
    });
    Ok(sides)
}

fn solve(linear: &Linear<'_>, kept: &[usize], damped: Damped, sides: &Mat<f64>) -> Ridge {
    let Some(factor) = &damped.factor else { return plain_cut(linear, kept, damped.status, damped.damping) };
    let (d, width) = (linear.outputs(), width(linear.outputs()));
    let mut weight = linear.rows(kept);
    let v = MatMut::from_row_major_slice_mut(&mut weight, kept.len(), d);
    v.par_col_chunks_mut(width).enumerate().for_each(|(block, mut v)| {
        let mut x = sides.as_ref().subcols(block * width, v.ncols()).to_owned();
        factor.solve(x.as_mut());
        for j in 0..v.ncols() {
            // Summed in f64 and rounded once.
            (0..kept.len()).for_each(|i| v[(i, j)] = (f64::from(v[(i, j)]) + x[(i, j)]) as f32);
        }
    });
    Ridge { weight, status: damped.status, condition: Some(factor.condition()), damping: damped.damping }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{massive_spectrum, normal, with_threads};
    use crate::{Symmetric, ridge, ridge_cross, shifted_error};

    const LAMBDAS: [f64; 3] = [1e-4, 1e-2, 1.0];

    #[test]
    fn every_damping_gives_the_single_repair_to_the_bit() {
        let (n, d) = (200, 70);
        let (packed, w) = (massive_spectrum(81, 2 * n, n), normal(82, n * d));
        let linear = Linear::new(Symmetric::packed(n, &packed).unwrap(), &w, d).unwrap();
        let kept: Vec<usize> = (0..n).filter(|j| j % 3 != 1).collect();
        let path = with_threads(2, || ridge_path(&linear, &kept, &LAMBDAS, None).unwrap());
        for (lambda, found) in LAMBDAS.into_iter().zip(path) {
            let single = with_threads(1, || ridge(&linear, &kept, lambda).unwrap());
            assert_eq!((found.weight, found.condition), (single.weight, single.condition));
        }
        let all: Vec<usize> = (0..n).collect();
        assert_eq!(ridge_path(&linear, &all, &[0.1], None).unwrap()[0].weight, w);
    }

    #[test]
    fn a_shift_is_the_cross_form_and_a_minimum() {
        let (n, d) = (60, 5);
        let (packed, w) = (massive_spectrum(83, 3 * n, n), normal(84, n * d));
        let linear = Linear::new(Symmetric::packed(n, &packed).unwrap(), &w, d).unwrap();
        let kept: Vec<usize> = (0..40).collect();
        // Any C near H is the cross Gram matrix of some target stream; then G = (C − H) W.
        let noise = normal(85, n * n);
        let size = |j: usize| linear.gram().get(j, j).sqrt() as f32;
        let off = |i: usize, j: usize| 0.1 * noise[i * n + j] * size(i) * size(j);
        let c: Vec<f32> = (0..n * n).map(|k| linear.gram().get(k / n, k % n) as f32 + off(k / n, k % n)).collect();
        let shift = |i: usize, k: usize| -> f64 {
            (0..n).map(|j| (f64::from(c[i * n + j]) - linear.gram().get(i, j)) * f64::from(w[j * d + k])).sum()
        };
        let cross: Vec<f32> = (0..n * d).map(|k| shift(k / d, k % d) as f32).collect();
        let shift = Shift { cross: &cross, energy: 1e9 };
        let found = ridge_path(&linear, &kept, &[0.0, 1e-3], Some(&shift)).unwrap();
        let other = ridge_cross(&linear, &c, &kept, 1e-3).unwrap().weight;
        assert!(found[1].weight.iter().zip(&other).all(|(a, b)| (a - b).abs() < 1e-3 * (1.0 + a.abs())));
        let error = |v: &[f32]| shifted_error(&linear, &kept, v, &shift).unwrap()[0];
        let best = error(&found[0].weight);
        for k in [0, 77, 199] {
            let mut moved = found[0].weight.clone();
            moved[k] += 0.01;
            assert!(error(&moved) > best && error(&found[1].weight) >= best);
        }
    }
}
