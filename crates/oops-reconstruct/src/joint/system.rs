//! The normal equations of one Gauss–Newton step: gradient, products, and a Kronecker-factored preconditioner.
//!
//! M is the block diagonal of JᵀWJ as if rows of gate and up saw independent slopes: c_i·E\[w x xᵀ\] for row i of gate, with
//! c_i = ‖D_i‖²·E\[w a_i²\], the same with s for up, and E\[w h hᵀ\] for the rows of down. Damped, it is the preconditioner;
//! its damping alone is what is added to the normal equations.
//!
//! *Reference.* Martens & Grosse, K-FAC (arXiv 1503.05671), for the factors.

use oops_core::{Result, finite::larger};
use oops_linalg::{Gram, RowSolver};
use oops_model::{Block, LinearizedFfn, values};
use rayon::prelude::*;

use super::{Fit, parts, sizes};

/// Share of the mean that every c_i is raised by, so that a silent channel does not move without limit.
const FLOOR: f64 = 1e-3;

/// Channels per task.
const TILE: usize = 64;

/// Values per task.
const CHUNK: usize = 1 << 14;

pub(super) struct System {
    /// c of the rows of gate and of up.
    curvature: [Vec<f64>; 2],
    /// E\[w x xᵀ\] and E\[w h hᵀ\], damped.
    factors: [RowSolver; 2],
    sizes: [usize; 3],
    tokens: f64,
}

impl System {
    /// The equations around the weights of `block`, and their right side JᵀW(y − x − f(x))/T.
    pub(super) fn gather(fit: &Fit<'_>, block: &Block) -> Result<(Self, Vec<f32>)> {
        let (ffn, hidden) = block.gate.weight.dims2().map_err(crate::forward::fault)?;
        let (mut grams, mut squares) = ([Gram::new(hidden), Gram::new(ffn)], [vec![0.0; ffn], vec![0.0; ffn]]);
        let (mut gradient, mut tokens) = (vec![0.0; sizes(block).iter().sum()], 0.0);
        for i in fit.fitted() {
            (fit.tick)()?;
            let (x, weights) = (fit.x.get(i)?, &fit.weights[i]);
            let out = fit.decoder.block(block, &x, &fit.batches[i].lengths, &mut |_, _| Ok(()))?;
            let mut rest = values(&(fit.y.get(i)? - out).map_err(crate::forward::fault)?)?;
            weigh(&mut rest, weights, |w| w);
            let LinearizedFfn { mut input, mut inner, slopes, .. } = {
                let map = fit.decoder.linearize_ffn(block, &x)?;
                add(&mut gradient, &map.back(&rest));
                map
            };
            tokens += weights.len() as f64;
            squares.iter_mut().zip(&slopes).for_each(|(sum, slope)| add_squares(sum, slope, weights));
            for (gram, rows) in grams.iter_mut().zip([&mut input, &mut inner]) {
                weigh(rows, weights, f32::sqrt);
                gram.add(rows)?;
            }
        }
        let scale = 1.0 / larger(tokens, 1.0);
        gradient.iter_mut().for_each(|g| *g *= scale as f32);
        let norms = column_squares(&values(&block.down.weight)?, ffn);
        let curvature = squares.map(|sums| raised(sums.iter().zip(&norms).map(|(s, n)| s * scale * n).collect()));
        let [input, inner] = grams.map(|mut gram| {
            gram.scale(scale as f32);
            RowSolver::new(&gram.view(), fit.joint.damping)
        });
        Ok((Self { curvature, factors: [input?, inner?], sizes: sizes(block), tokens }, gradient))
    }

    /// M⁻¹ r.
    pub(super) fn precondition(&self, r: &[f32]) -> Result<Vec<f32>> {
        let mut out = r.to_vec();
        let (gate, rest) = out.split_at_mut(self.sizes[0]);
        let (up, down) = rest.split_at_mut(self.sizes[1]);
        for (rows, curvature) in [gate, up].into_iter().zip(&self.curvature) {
            self.factors[0].solve(rows)?;
            divide_rows(rows, curvature);
        }
        self.factors[1].solve(down)?;
        Ok(out)
    }

    /// (JᵀWJ/T + λM′) p around the weights of `block`, M′ being the damping of M.
    pub(super) fn product(&self, fit: &Fit<'_>, block: &Block, p: &[f32]) -> Result<Vec<f32>> {
        let mut out = vec![0.0; p.len()];
        for i in fit.fitted() {
            (fit.tick)()?;
            let map = fit.decoder.linearize_ffn(block, &fit.x.get(i)?)?;
            let mut along = map.along(parts(p, self.sizes));
            weigh(&mut along, &fit.weights[i], |w| w);
            add(&mut out, &map.back(&along));
        }
        let scale = (1.0 / larger(self.tokens, 1.0)) as f32;
        let [input, inner] = self.factors.each_ref().map(RowSolver::damping);
        let (gate, rest) = out.split_at_mut(self.sizes[0]);
        let (up, down) = rest.split_at_mut(self.sizes[1]);
        let [p_gate, p_up, p_down] = parts(p, self.sizes);
        for ((out, p), curvature) in [(gate, p_gate), (up, p_up)].into_iter().zip(&self.curvature) {
            let width = (p.len() / curvature.len().max(1)).max(1);
            out.par_chunks_mut(width).zip(p.par_chunks(width)).zip(curvature).for_each(|((out, p), c)| {
                damp(out, scale, p, (c * input) as f32);
            });
        }
        down.par_chunks_mut(CHUNK).zip(p_down.par_chunks(CHUNK)).for_each(|(out, p)| damp(out, scale, p, inner as f32));
        Ok(out)
    }
}

/// `out` ← `scale`·`out` + `factor`·`p`.
fn damp(out: &mut [f32], scale: f32, p: &[f32], factor: f32) {
    out.iter_mut().zip(p).for_each(|(o, p)| *o = *o * scale + factor * p);
}

/// `sum` ← `sum` + the three parts one after another.
fn add(sum: &mut [f32], step: &[Vec<f32>; 3]) {
    let mut rest = sum;
    for part in step {
        let (mine, others) = rest.split_at_mut(part.len());
        mine.par_iter_mut().zip(part).for_each(|(s, v)| *s += v);
        rest = others;
    }
}

/// Every row times what `of` makes of its weight.
fn weigh(rows: &mut [f32], weights: &[f32], of: impl Fn(f32) -> f32 + Sync) {
    let width = (rows.len() / weights.len().max(1)).max(1);
    rows.par_chunks_mut(width).zip(weights).for_each(|(row, &w)| {
        let factor = of(w);
        row.iter_mut().for_each(|v| *v *= factor);
    });
}

/// Row i divided by `numbers[i]`.
fn divide_rows(rows: &mut [f32], numbers: &[f64]) {
    let width = (rows.len() / numbers.len().max(1)).max(1);
    rows.par_chunks_mut(width).zip(numbers).for_each(|(row, &c)| {
        let factor = (1.0 / c) as f32;
        row.iter_mut().for_each(|v| *v *= factor);
    });
}

/// `sum`_i ← `sum`_i + Σ_t w_t·`slope`_ti².
fn add_squares(sum: &mut [f64], slope: &[f32], weights: &[f32]) {
    let width = sum.len();
    sum.par_chunks_mut(TILE).enumerate().for_each(|(tile, sum)| {
        for (row, &w) in slope.chunks_exact(width).zip(weights) {
            sum.iter_mut().zip(&row[tile * TILE..]).for_each(|(s, &v)| *s += f64::from(w) * f64::from(v).powi(2));
        }
    });
}

/// Σ over the rows of a matrix of `width` columns of the squares, column by column.
fn column_squares(matrix: &[f32], width: usize) -> Vec<f64> {
    let mut sums = vec![0.0; width];
    add_squares(&mut sums, matrix, &vec![1.0; matrix.len() / width.max(1)]);
    sums
}

/// Each number and [`FLOOR`] of their mean; 1 where all are 0, since nothing moves there anyway.
fn raised(mut numbers: Vec<f64>) -> Vec<f64> {
    let mean = numbers.iter().sum::<f64>() / numbers.len().max(1) as f64;
    numbers.iter_mut().for_each(|c| *c = if mean > 0.0 { *c + FLOOR * mean } else { 1.0 });
    numbers
}
