//! Matrix products that give the same bits for every thread count.
//!
//! A library product that is parallel inside picks its blocking, and so the order of its sums, from the number of
//! threads. Here the output is cut into tiles by its size alone, each tile is one sequential product, and only the
//! tiles run in parallel.

use faer::linalg::matmul::{matmul, triangular, triangular::BlockStructure};
use faer::traits::ComplexField;
use faer::{Accum, MatMut, MatRef, Par};

/// Largest side of a tile: small enough to feed several threads at n = 576, large enough that packing is cheap.
const TILE: usize = 256;

/// `dst += alpha · a aᵀ`, lower triangle only; the strict upper triangle of `dst` (n × n) is left alone. `a` is n × k.
pub(crate) fn add_symmetric<T: ComplexField + Copy + Send + Sync>(dst: MatMut<'_, T>, a: MatRef<'_, T>, alpha: T) {
    let n = dst.nrows();
    if n <= TILE {
        let (full, lower) = (BlockStructure::Rectangular, BlockStructure::TriangularLower);
        triangular::matmul(dst, lower, Accum::Add, a, full, a.transpose(), full, alpha, Par::Seq);
        return;
    }
    let half = middle(n);
    let (first, _, corner, second) = dst.split_at_mut(half, half);
    let (top, bottom) = a.split_at_row(half);
    rayon::join(
        || add_product(corner, bottom, top.transpose(), alpha),
        || rayon::join(|| add_symmetric(first, top, alpha), || add_symmetric(second, bottom, alpha)),
    );
}

/// `dst += alpha · a b` with `a` m × k and `b` k × n.
pub(crate) fn add_product<T: ComplexField + Copy + Send + Sync>(
    dst: MatMut<'_, T>,
    a: MatRef<'_, T>,
    b: MatRef<'_, T>,
    alpha: T,
) {
    let (m, n) = dst.shape();
    if m.max(n) <= TILE {
        matmul(dst, Accum::Add, a, b, alpha, Par::Seq);
    } else if m >= n {
        let (d0, d1) = dst.split_at_row_mut(middle(m));
        let (a0, a1) = a.split_at_row(middle(m));
        rayon::join(|| add_product(d0, a0, b, alpha), || add_product(d1, a1, b, alpha));
    } else {
        let (d0, d1) = dst.split_at_col_mut(middle(n));
        let (b0, b1) = b.split_at_col(middle(n));
        rayon::join(|| add_product(d0, a, b0, alpha), || add_product(d1, a, b1, alpha));
    }
}

/// A split point near n / 2 on a multiple of the kernels' width.
pub(crate) fn middle(n: usize) -> usize {
    (n / 2).next_multiple_of(48).min(n - 1)
}
