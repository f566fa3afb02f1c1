//! Matrix products that give the same bits for every thread count.
//!
//! A library product that is parallel inside picks its blocking, and so the order of its sums, from the number of
//! threads. Here the output is cut into tiles by its size alone, each tile is one sequential product, and only the
//! tiles run in parallel.

use std::cell::RefCell;

use faer::linalg::matmul::{matmul, triangular, triangular::BlockStructure};
use faer::prelude::ReborrowMut;
use faer::traits::ComplexField;
use faer::{Accum, MatMut, MatRef, Par};

/// A number type with a sequential product.
pub(crate) trait Entry: ComplexField + Copy + Send + Sync {
    /// Largest side of a tile of a product: small enough to feed several threads at n = 576, large enough that packing
    /// is cheap.
    const TILE: usize;
    /// Largest side of a tile on the diagonal of a symmetric product.
    const DIAGONAL: usize;

    /// `dst += alpha · a b` on the calling thread.
    fn add_tile(dst: MatMut<'_, Self>, a: MatRef<'_, Self>, b: MatRef<'_, Self>, alpha: Self);
}

impl Entry for f64 {
    const TILE: usize = 256;
    const DIAGONAL: usize = 256;

    fn add_tile(dst: MatMut<'_, f64>, a: MatRef<'_, f64>, b: MatRef<'_, f64>, alpha: f64) {
        matmul(dst, Accum::Add, a, b, alpha, Par::Seq);
    }
}

thread_local! {
    /// A tile's product: rows of `dst` that lie a power of two apart would share few cache lines.
    static PRODUCT: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// The products of calibration. The `gemm` crate's f32 kernels are a third faster than faer's at 2048 × 11,008.
impl Entry for f32 {
    const TILE: usize = 384;
    const DIAGONAL: usize = 96;

    fn add_tile(mut dst: MatMut<'_, f32>, a: MatRef<'_, f32>, b: MatRef<'_, f32>, alpha: f32) {
        PRODUCT.with_borrow_mut(|product| {
            let (m, n) = dst.shape();
            product.resize(m * n, 0.0);
            multiply(product, a, b, alpha);
            for (i, row) in product.chunks_exact(n.max(1)).enumerate() {
                match dst.rb_mut().row_mut(i).try_as_row_major_mut() {
                    Some(dst) => dst.as_slice_mut().iter_mut().zip(row).for_each(|(sum, v)| *sum += v),
                    None => (0..n).for_each(|j| dst[(i, j)] += row[j]),
                }
            }
        });
    }
}

/// `out` (row-major) = alpha · a b.
fn multiply(out: &mut [f32], a: MatRef<'_, f32>, b: MatRef<'_, f32>, alpha: f32) {
    let (m, n, k) = (a.nrows(), b.ncols(), a.ncols());
    assert!(out.len() == m * n && b.nrows() == k, "matrix shapes disagree");
    #[expect(unsafe_code, reason = "the crate's only entry point takes pointers")]
    // SAFETY: `out` holds m × n numbers and is exclusive; the other pointers and strides are those of valid views.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            false,
            a.as_ptr(),
            a.col_stride(),
            a.row_stride(),
            b.as_ptr(),
            b.col_stride(),
            b.row_stride(),
            0.0,
            alpha,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// `dst += alpha · a aᵀ`, lower triangle only; the strict upper triangle of `dst` (n × n) is left alone. `a` is n × k.
pub(crate) fn add_symmetric<T: Entry>(dst: MatMut<'_, T>, a: MatRef<'_, T>, alpha: T) {
    let n = dst.nrows();
    if n <= T::DIAGONAL {
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
pub(crate) fn add_product<T: Entry>(dst: MatMut<'_, T>, a: MatRef<'_, T>, b: MatRef<'_, T>, alpha: T) {
    let (m, n) = dst.shape();
    if m.max(n) <= T::TILE {
        T::add_tile(dst, a, b, alpha);
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
