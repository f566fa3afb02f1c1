//! Whole products, cut into tiles.

use rayon::prelude::*;

use crate::{
    panels::{Activations, HEIGHT, WIDTH, Weights},
    tile::{Form, Tile},
};

/// Pairs of columns that a tile sums at once. Its operands (98 kB of weights, 43 of activations) come from the second cache, which
/// is fast enough for 28 products per pair; more of them mean fewer tiles that go to memory and come back.
const DEPTH: usize = 768;

/// Panels of activations of a task, which stay in the second cache with a panel of weights (688 kB).
const TASK_PANELS: usize = 16;

/// Entries that are combined at a time where products are finished first.
const PIECE: usize = 1 << 14;

/// x·Wᵀ `[rows, outputs]`: `x` `[rows, inputs]`, `w` `[outputs, inputs]`.
///
/// Entries are rounded to bf16, their products are exact, and sums are f32.
///
/// # Panics
/// If the shapes disagree.
pub fn product(x: &Activations, w: &Weights) -> Vec<f32> {
    let mut out = vec![0.0; x.rows() * w.rows()];
    all_rows(Form::best(), &mut out, x, w, false);
    out
}

/// `out` ← `out` + x·Wᵀ, otherwise as [`product`].
///
/// # Panics
/// If the shapes disagree.
pub fn add_product(out: &mut [f32], x: &Activations, w: &Weights) {
    all_rows(Form::best(), out, x, w, true);
}

/// f(x·Wᵀ, x·Vᵀ) entry by entry, otherwise as [`product`]: `f` gets entries of both, in whatever pieces, and leaves its values
/// in the first. It sees them before they leave the nearest cache, unless there are many inputs.
///
/// # Panics
/// If the shapes disagree.
pub fn product_of_two(x: &Activations, [w, v]: [&Weights; 2], f: impl Fn(&mut [f32], &[f32]) + Sync) -> Vec<f32> {
    assert!(w.rows() == v.rows() && w.pairs() == v.pairs(), "matrix shapes disagree");
    assert!(x.pairs() == w.pairs() || w.rows() == 0, "matrix shapes disagree");
    if x.pairs() > DEPTH {
        let (mut out, second) = (product(x, w), product(x, v));
        out.par_chunks_mut(PIECE).zip(second.par_chunks(PIECE)).for_each(|(out, second)| f(out, second));
        return out;
    }
    let (form, outputs) = (Form::best(), w.rows());
    let mut out = vec![0.0; x.rows() * outputs];
    tasks(&mut out, x, outputs, |out, first| {
        for column in 0..w.count() {
            let [w, v] = [w, v].map(|m| m.part(column, 0, x.pairs()));
            for (i, out) in out.chunks_mut(HEIGHT * outputs).enumerate() {
                let rows = x.part(first + i, 0, x.pairs());
                let mut tile = form.product(rows, w);
                f(tile.as_flattened_mut(), form.product(rows, v).as_flattened());
                put(out, outputs, column, &tile, false);
            }
        }
    });
    out
}

fn all_rows(form: Form, out: &mut [f32], x: &Activations, w: &Weights, add: bool) {
    assert_eq!(out.len(), x.rows() * w.rows(), "matrix shapes disagree");
    // Without rows, a matrix has no columns either.
    assert!(x.pairs() == w.pairs() || out.is_empty(), "matrix shapes disagree");
    tasks(out, x, w.rows(), |out, first| rows(form, out, x, w, first, add));
}

/// Calls `task` with the rows of a few panels, and the first of these, for all of `out`.
fn tasks(out: &mut [f32], x: &Activations, outputs: usize, task: impl Fn(&mut [f32], usize) + Sync) {
    // Fewer rows per task where there are few rows, so that there are some tasks; by shape alone.
    let panels = (x.count() / TASK_PANELS).clamp(1, TASK_PANELS);
    let width = (panels * HEIGHT * outputs).max(1);
    out.par_chunks_mut(width).enumerate().for_each(|(i, out)| task(out, i * panels));
}

/// The rows of `out` from panel `first` of the activations on.
fn rows(form: Form, out: &mut [f32], x: &Activations, w: &Weights, first: usize, add: bool) {
    let parts = x.pairs().div_ceil(DEPTH).max(1);
    let depth = x.pairs().div_ceil(parts).max(1);
    for start in (0..x.pairs()).step_by(depth) {
        let pairs = depth.min(x.pairs() - start);
        for column in 0..w.count() {
            let weights = w.part(column, start, pairs);
            for (i, out) in out.chunks_mut(HEIGHT * w.rows()).enumerate() {
                let tile = form.product(x.part(first + i, start, pairs), weights);
                put(out, w.rows(), column, &tile, add || start > 0);
            }
        }
    }
}

/// Takes a tile into the rows of a panel, at a panel of columns.
#[inline(always)]
fn put(out: &mut [f32], outputs: usize, column: usize, tile: &Tile, add: bool) {
    for (row, tile) in out.chunks_exact_mut(outputs).zip(tile) {
        let row = &mut row[column * WIDTH..];
        match row.first_chunk_mut::<WIDTH>() {
            Some(row) if add => row.iter_mut().zip(tile).for_each(|(sum, v)| *sum += v),
            Some(row) => *row = *tile,
            None if add => row.iter_mut().zip(tile).for_each(|(sum, v)| *sum += v),
            None => row.copy_from_slice(&tile[..row.len()]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::panels::unpacked;

    /// `n` values in [−1, 1).
    fn noise(n: usize, seed: u64) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2).wrapping_add(1);
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        (0..n).map(|_| next()).collect()
    }

    /// Entries as they are after rounding.
    fn entries<const LANES: usize>(panels: &crate::Panels<LANES>, row: usize) -> Vec<f64> {
        let lines = panels.part(row / LANES, 0, panels.pairs());
        lines.iter().flat_map(|line| unpacked(line[row % LANES])).map(f64::from).collect()
    }

    #[test]
    fn products_of_any_shape_are_those_of_the_rounded_entries() {
        for (rows, outputs, inputs) in [(1, 1, 1), (5, 33, 7), (14, 32, 512), (40, 70, 1031), (300, 9, 64), (3, 4, 0)] {
            let x = Activations::new(&noise(rows * inputs, 1), rows);
            let w = Weights::new(&noise(outputs * inputs, 2), outputs);
            for form in [Form::Plain, Form::best()] {
                let mut out = vec![1.0; rows * outputs];
                all_rows(form, &mut out, &x, &w, true);
                for (i, row) in out.chunks_exact(outputs).enumerate() {
                    let x = entries(&x, i);
                    for (j, sum) in row.iter().enumerate() {
                        let exact: f64 = 1.0 + x.iter().zip(entries(&w, j)).map(|(x, w)| x * w).sum::<f64>();
                        assert!((f64::from(*sum) - exact).abs() < 1e-4, "{form:?}: {sum} {exact} at {i}, {j}");
                    }
                }
            }
        }
    }

    #[test]
    fn there_may_be_no_rows_no_outputs_or_no_inputs() {
        let (none, some) = (Activations::new(&[], 0), Activations::new(&[1.0; 6], 3));
        let (no_outputs, weights) = (Weights::new(&[], 0), Weights::new(&[1.0; 8], 4));
        assert!(product(&none, &weights).is_empty() && product(&some, &no_outputs).is_empty());
        assert!(product_of_two(&some, [&no_outputs, &no_outputs], |_, _| ()).is_empty());
        assert_eq!(product(&Activations::new(&[], 2), &Weights::new(&[], 3)), [0.0; 6]);
        let mut sum = vec![5.0; 6];
        add_product(&mut sum, &Activations::new(&[], 2), &Weights::new(&[], 3));
        assert_eq!(sum, [5.0; 6]);
    }

    #[test]
    fn products_are_near_those_of_f32() {
        // Each entry is off by at most 2⁻⁹ of itself, in either direction: the error of a sum grows with its root.
        let (rows, outputs, inputs) = (50, 60, 1000);
        let (x, w) = (noise(rows * inputs, 3), noise(outputs * inputs, 4));
        let out = product(&Activations::new(&x, rows), &Weights::new(&w, outputs));
        let (mut error, mut size) = (0.0, 0.0);
        for (i, sum) in out.iter().enumerate() {
            let (x, w) = (&x[i / outputs * inputs..][..inputs], &w[i % outputs * inputs..][..inputs]);
            let exact: f64 = x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
            error += (f64::from(*sum) - exact).powi(2);
            size += exact.powi(2);
        }
        let relative = (error / size).sqrt();
        assert!((1e-4..4e-3).contains(&relative), "{relative}");
    }

    #[test]
    fn two_products_are_combined_entry_by_entry() {
        for (rows, outputs, inputs) in [(3, 5, 8), (50, 33, 64), (20, 40, 1600)] {
            let x = Activations::new(&noise(rows * inputs, 7), rows);
            let [w, v] = [8, 9].map(|seed| Weights::new(&noise(outputs * inputs, seed), outputs));
            let both = product_of_two(&x, [&w, &v], |a, b| a.iter_mut().zip(b).for_each(|(a, b)| *a = 2.0 * *a - b));
            let expected = product(&x, &w).into_iter().zip(product(&x, &v)).map(|(a, b)| 2.0 * a - b);
            assert_eq!(both, expected.collect::<Vec<_>>());
        }
    }

    #[test]
    fn threads_do_not_change_bits() {
        let (x, w) = (noise(700 * 130, 5), noise(90 * 130, 6));
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| product(&Activations::new(&x, 700), &Weights::new(&w, 90)))
        };
        assert_eq!(run(1), run(2));
    }
}
