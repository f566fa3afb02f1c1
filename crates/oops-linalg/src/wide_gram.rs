//! Gram products on CPUs with AVX-512.
//!
//! In X (tokens × channels, row-major), the channels of a tile lie side by side in every row. So both operands of XᵀX are
//! packed by copying short pieces of rows, once for all tiles that read them, and only tiles that touch the lower triangle
//! are computed.

use std::cell::Cell;

use rayon::prelude::*;

/// Rows of a tile: with [`WIDTH`] they take 28 of the 32 vector registers.
const HEIGHT: usize = 14;

/// Columns of a tile: two vectors.
const WIDTH: usize = 32;

/// Tokens that a tile sums at once: of its operands (57 and 131 kB), one is read again and again from the second cache.
const DEPTH: usize = 1024;

/// Most panels of rows in a task: they stay in the second cache (459 kB).
const TASK_PANELS: usize = 8;

/// Least number of tasks that there should be.
const TASKS: usize = 8;

type Tile = [[f32; WIDTH]; HEIGHT];

/// Panels of channels: of each, one token after the other, of each of these, `LANES` channels, zero beyond the last.
type Panels<const LANES: usize> = Vec<[f32; LANES]>;

thread_local! {
    /// Packed operands of the last call. Taken out while in use: a thread that waits for others may begin another call.
    static PACKED: Cell<(Panels<HEIGHT>, Panels<WIDTH>)> = const { Cell::new((Vec::new(), Vec::new())) };
}

/// Whether [`add`] may be called.
pub(crate) fn is_available() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx512f");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// The lower triangle of `dst` (n × n, row-major) += XᵀX, `x` one or more whole rows of n > 0 channels. The bits
/// do not depend on the number of threads.
///
/// # Panics
/// If [`is_available`] says no.
pub(crate) fn add(dst: &mut [f32], x: &[f32], n: usize) {
    assert!(is_available(), "a CPU without AVX-512");
    let tokens = x.len() / n;
    let depth = tokens.div_ceil(tokens.div_ceil(DEPTH));
    let (mut high, mut wide) = PACKED.take();
    for x in x.chunks(depth * n) {
        let tokens = x.len() / n;
        pack(&mut high, x, n);
        pack(&mut wide, x, n);
        let panels = (n.div_ceil(HEIGHT) / TASKS).clamp(1, TASK_PANELS);
        dst.par_chunks_mut(panels * HEIGHT * n).enumerate().for_each(|(task, dst)| {
            let first = task * panels;
            for (column, wide) in wide.chunks_exact(tokens).enumerate() {
                for (i, dst) in dst.chunks_mut(HEIGHT * n).enumerate() {
                    let row = (first + i) * HEIGHT;
                    if column * WIDTH < row + dst.len() / n {
                        let tile = tile(&high[(first + i) * tokens..][..tokens], wide);
                        put(dst, n, row, column * WIDTH, &tile);
                    }
                }
            }
        });
    }
    PACKED.set((high, wide));
}

/// Packs whole rows of n channels.
fn pack<const LANES: usize>(panels: &mut Panels<LANES>, x: &[f32], n: usize) {
    let tokens = x.len() / n;
    panels.resize(n.div_ceil(LANES) * tokens, [0.0; LANES]);
    panels.par_chunks_exact_mut(tokens).enumerate().for_each(|(i, panel)| {
        let first = i * LANES;
        for (line, row) in panel.iter_mut().zip(x.chunks_exact(n)) {
            let rest = &row[first..];
            if let Some(channels) = rest.first_chunk::<LANES>() {
                *line = *channels;
            } else {
                *line = [0.0; LANES];
                line[..rest.len()].copy_from_slice(rest);
            }
        }
    });
}

/// Adds what of a tile at (`row`, `column`) lies in the lower triangle to rows of `dst`.
#[inline(always)]
fn put(dst: &mut [f32], n: usize, row: usize, column: usize, tile: &Tile) {
    for (r, (dst, tile)) in dst.chunks_exact_mut(n).zip(tile).enumerate() {
        let lower = &mut dst[column.min(row + r + 1)..(column + WIDTH).min(row + r + 1)];
        match lower.first_chunk_mut::<WIDTH>() {
            Some(whole) => whole.iter_mut().zip(tile).for_each(|(sum, v)| *sum += v),
            None => lower.iter_mut().zip(tile).for_each(|(sum, v)| *sum += v),
        }
    }
}

#[inline]
fn tile(a: &[[f32; HEIGHT]], b: &[[f32; WIDTH]]) -> Tile {
    #[cfg(target_arch = "x86_64")]
    #[expect(unsafe_code, reason = "the compiler cannot see that the CPU has these instructions")]
    // SAFETY: `add` has asked.
    return unsafe { avx512::tile(a, b) };
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = (a, b);
        unreachable!("`add` has asked for AVX-512")
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::{
        __m512, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
    };

    use super::{HEIGHT, Tile, WIDTH};

    const LANES: usize = 16;
    const VECTORS: usize = WIDTH / LANES;

    /// Σ a·bᵀ over tokens. All sums stay in registers: per token two loads, and per row a broadcast and two products.
    #[target_feature(enable = "avx512f")]
    pub(super) fn tile(a: &[[f32; HEIGHT]], b: &[[f32; WIDTH]]) -> Tile {
        let mut acc = [[_mm512_setzero_ps(); VECTORS]; HEIGHT];
        for (a, b) in a.iter().zip(b) {
            let b = b.as_chunks::<LANES>().0;
            let b: [__m512; VECTORS] = std::array::from_fn(|v| load(&b[v]));
            for i in 0..HEIGHT {
                let a = _mm512_set1_ps(a[i]);
                (0..VECTORS).for_each(|v| acc[i][v] = _mm512_fmadd_ps(a, b[v], acc[i][v]));
            }
        }
        let mut tile = [[0.0; WIDTH]; HEIGHT];
        for (row, acc) in tile.iter_mut().zip(acc) {
            row.as_chunks_mut::<LANES>().0.iter_mut().zip(acc).for_each(|(to, acc)| store(to, acc));
        }
        tile
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load(from: &[f32; LANES]) -> __m512 {
        #[expect(unsafe_code, reason = "loads take pointers")]
        // SAFETY: the array has as many numbers as the vector.
        unsafe {
            _mm512_loadu_ps(from.as_ptr())
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn store(to: &mut [f32; LANES], sums: __m512) {
        #[expect(unsafe_code, reason = "stores take pointers")]
        // SAFETY: the array has as many numbers as the vector.
        unsafe {
            _mm512_storeu_ps(to.as_mut_ptr(), sums);
        }
    }
}

#[cfg(test)]
mod tests {
    use faer::{MatMut, MatRef};

    use super::*;
    use crate::{product::add_symmetric, testkit::normal};

    #[test]
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    fn both_forms_add_the_same_and_leave_the_upper_triangle_alone() {
        if !is_available() {
            eprintln!("skipped: both_forms_add_the_same_and_leave_the_upper_triangle_alone (a CPU without AVX-512)");
            return;
        }
        for (tokens, n) in [(1, 1), (7, 13), (64, 14), (100, 33), (1025, 70), (2500, 145)] {
            let x = normal(5, tokens * n);
            let (mut ours, mut theirs) = (vec![1.0; n * n], vec![1.0; n * n]);
            add(&mut ours, &x, n);
            let view = MatRef::from_row_major_slice(&x, tokens, n);
            add_symmetric(MatMut::from_row_major_slice_mut(&mut theirs, n, n), view.transpose(), 1.0);
            for (i, (a, b)) in ours.iter().zip(&theirs).enumerate() {
                assert!((a - b).abs() < 1e-5 * tokens as f32, "{a} {b} at {} {} of {n}", i / n, i % n);
                assert!(i % n <= i / n || *a == 1.0, "the upper triangle at {} {}", i / n, i % n);
            }
        }
    }
}
