//! Gram products on CPUs with AVX-512.
//!
//! In X (tokens × channels, row-major), the channels of a tile lie side by side in every row. So X is packed once by copying
//! pieces of rows, both operands of XᵀX are read from there, and only tiles that touch the lower triangle are computed.

use std::cell::Cell;

use rayon::prelude::*;

/// Rows of a tile: with [`WIDTH`] they take 24 of the 32 vector registers.
const HEIGHT: usize = 8;

/// Columns of a tile, three vectors, and channels of a packed panel.
const WIDTH: usize = 48;

/// Numbers of a vector.
const LANES: usize = 16;

/// Tiles that lie above each other within the rows of one panel.
const STEPS: usize = WIDTH / HEIGHT;

/// Tokens that a tile sums at once: a panel of them (197 kB) meets many rows while it is in the second cache.
const DEPTH: usize = 1024;

/// Tokens that are packed together: rows are read whole, one after the other, and pieces of panels are long enough to fetch ahead.
const BLOCK: usize = 256;

/// Most tiles above each other in a task: their rows stay in the second cache (524 kB), and so many share a panel read from memory.
const TASK_TILES: usize = 16;

/// Least number of tasks that there should be: the last ones have the most tiles, and threads should end together.
const TASKS: usize = 24;

type Tile = [[f32; WIDTH]; HEIGHT];

/// One token's channels of a panel, zero beyond the last channel.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([f32; WIDTH]);

thread_local! {
    /// Packed tokens of the last call. Taken out while in use: a thread that waits for others may begin another call.
    static PACKED: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
}

/// Whether [`add`] may be called.
pub(crate) fn is_available() -> bool {
    std::arch::is_x86_feature_detected!("avx512f")
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
    let mut packed = PACKED.take();
    // One way into the pool for all steps: whoever waits outside between them lets its threads fall asleep.
    rayon::scope(|_| {
        for x in x.chunks(depth * n) {
            add_packed(dst, Packed { lines: pack(&mut packed, x, n), panels: n.div_ceil(WIDTH) }, n);
        }
    });
    PACKED.set(packed);
}

fn add_packed(dst: &mut [f32], x: Packed<'_>, n: usize) {
    let tiles = (n.div_ceil(HEIGHT) / TASKS).clamp(1, TASK_TILES);
    dst.par_chunks_mut(tiles * HEIGHT * n).enumerate().rev().for_each(|(task, dst)| {
        let last = task * tiles * HEIGHT + dst.len() / n;
        for panel in 0..last.div_ceil(WIDTH) {
            for (i, dst) in dst.chunks_mut(HEIGHT * n).enumerate() {
                let step = task * tiles + i;
                let visible = (step * HEIGHT + dst.len() / n).saturating_sub(panel * WIDTH);
                if visible > 0 {
                    put(dst, n, step * HEIGHT, panel * WIDTH, &tile(x, step, panel, visible));
                }
            }
        }
    });
}

/// Packs whole rows of n channels: block after block of tokens, in it panel after panel, in it token after token.
fn pack<'a>(packed: &'a mut Vec<Line>, x: &[f32], n: usize) -> &'a [Line] {
    let panels = n.div_ceil(WIDTH);
    let lines = x.len() / n * panels;
    // Never shorter: lines that are to be overwritten need no zeros first.
    packed.resize(lines.max(packed.len()), Line([0.0; WIDTH]));
    let packed = &mut packed[..lines];
    packed.par_chunks_mut(BLOCK * panels).zip(x.par_chunks(BLOCK * n)).for_each(|(packed, x)| {
        #[expect(unsafe_code, reason = "the compiler cannot see that the CPU has these instructions")]
        // SAFETY: `add` has asked.
        unsafe {
            avx512::pack_block(packed, x, n);
        }
    });
    packed
}

/// What [`pack`] made.
#[derive(Clone, Copy)]
struct Packed<'a> {
    lines: &'a [Line],
    panels: usize,
}

impl<'a> Packed<'a> {
    /// Two panels, block after block.
    fn pair(self, a: usize, b: usize) -> impl Iterator<Item = (&'a [Line], &'a [Line])> {
        self.lines.chunks(BLOCK * self.panels).map(move |block| {
            let tokens = block.len() / self.panels;
            (&block[a * tokens..][..tokens], &block[b * tokens..][..tokens])
        })
    }
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

/// The sums over tokens of rows `step` · [`HEIGHT`] … times the channels of `panel`, of these at least the first `visible`.
#[inline]
fn tile(x: Packed<'_>, step: usize, panel: usize, visible: usize) -> Tile {
    #[expect(unsafe_code, reason = "the compiler cannot see that the CPU has these instructions")]
    // SAFETY: `add` has asked.
    unsafe {
        match visible.div_ceil(LANES) {
            1 => avx512::tile::<1>(x, step, panel),
            2 => avx512::tile::<2>(x, step, panel),
            _ => avx512::tile::<3>(x, step, panel),
        }
    }
}

mod avx512 {
    use std::arch::x86_64::{
        __m512, _MM_HINT_T0, _mm_prefetch, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps,
        _mm512_storeu_ps,
    };

    use super::{HEIGHT, LANES, Line, Packed, STEPS, Tile, WIDTH};

    /// Tokens between a line and the one that is asked for with it.
    const AHEAD: usize = 24;

    /// A block of [`super::pack`]: compiled for vectors that copy a line without a call.
    #[target_feature(enable = "avx512f")]
    pub(super) fn pack_block(packed: &mut [Line], x: &[f32], n: usize) {
        let tokens = x.len() / n;
        for (token, row) in x.chunks_exact(n).enumerate() {
            for (panel, channels) in row.chunks(WIDTH).enumerate() {
                let line = &mut packed[panel * tokens + token].0;
                if let Some(whole) = channels.first_chunk::<WIDTH>() {
                    *line = *whole;
                } else {
                    *line = [0.0; WIDTH];
                    line[..channels.len()].copy_from_slice(channels);
                }
            }
        }
    }

    /// [`super::tile`] with `VECTORS` · 16 columns. All sums stay in registers: per token a load for every vector, and per row
    /// a broadcast and as many products.
    #[target_feature(enable = "avx512f")]
    pub(super) fn tile<const VECTORS: usize>(x: Packed<'_>, step: usize, panel: usize) -> Tile {
        let mut acc = [[_mm512_setzero_ps(); VECTORS]; HEIGHT];
        for (a, b) in x.pair(step / STEPS, panel) {
            for (a, b) in a.iter().zip(b) {
                let a = &a.0.as_chunks::<HEIGHT>().0[step % STEPS];
                fetch(b);
                let b = b.0.as_chunks::<LANES>().0;
                let b: [__m512; VECTORS] = std::array::from_fn(|v| load(&b[v]));
                for i in 0..HEIGHT {
                    let a = _mm512_set1_ps(a[i]);
                    (0..VECTORS).for_each(|v| acc[i][v] = _mm512_fmadd_ps(a, b[v], acc[i][v]));
                }
            }
        }
        let mut tile = [[0.0; WIDTH]; HEIGHT];
        for (row, acc) in tile.iter_mut().zip(acc) {
            row.as_chunks_mut::<LANES>().0.iter_mut().zip(acc).for_each(|(to, acc)| store(to, acc));
        }
        tile
    }

    /// Asks for the line [`AHEAD`] tokens later: at the start of every page of memory, loads alone would wait.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn fetch(line: &Line) {
        let later = std::ptr::from_ref(line).wrapping_add(AHEAD).cast::<i8>();
        _mm_prefetch::<_MM_HINT_T0>(later);
        _mm_prefetch::<_MM_HINT_T0>(later.wrapping_add(64));
        _mm_prefetch::<_MM_HINT_T0>(later.wrapping_add(128));
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
        for (tokens, n) in [(1, 1), (7, 13), (64, 14), (100, 33), (129, 48), (1025, 70), (2500, 145)] {
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
