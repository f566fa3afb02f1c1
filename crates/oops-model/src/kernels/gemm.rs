//! A safe face for the `gemm` crate: strided f32 matrices that know their bounds.

use gemm::Parallelism;

/// A matrix inside a slice; rows and columns may be strided.
#[derive(Clone, Copy)]
pub(super) struct Mat<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Mat<'a> {
    /// `rows` × `cols`, rows `row_stride` apart, from the start of `data`.
    ///
    /// # Panics
    /// If the last element lies outside `data`; callers size their slices from the same numbers.
    pub(super) fn new(data: &'a [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(fits(data.len(), rows, cols, row_stride), "matrix outside its slice");
        Self { data, rows, cols, row_stride, col_stride: 1 }
    }

    /// The transposed view.
    pub(super) fn t(self) -> Self {
        Self { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }
}

fn fits(len: usize, rows: usize, cols: usize, row_stride: usize) -> bool {
    rows == 0 || cols == 0 || (rows - 1) * row_stride + cols <= len
}

/// out (rows × cols, rows `row_stride` apart) = a·b, or out + a·b when `accumulate`.
///
/// # Panics
/// If the shapes disagree or `out` is too short.
pub(super) fn gemm(
    out: &mut [f32],
    row_stride: usize,
    a: Mat<'_>,
    b: Mat<'_>,
    accumulate: bool,
    parallelism: Parallelism,
) {
    assert!(a.cols == b.rows && fits(out.len(), a.rows, b.cols, row_stride), "matrix shapes disagree");
    assert!(row_stride >= b.cols, "rows of the output overlap");
    #[expect(unsafe_code, reason = "the crate's only entry point takes pointers; the bounds are asserted above")]
    // SAFETY: all three matrices lie inside their slices, `out` is exclusive and its rows do not overlap.
    unsafe {
        gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            out.as_mut_ptr(),
            1,
            row_stride as isize,
            accumulate,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            1.0_f32,
            1.0_f32,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{max_diff, noise, with_threads};

    fn naive(a: &[f32], b_t: &[f32], m: usize, n: usize, k: usize) -> Vec<f32> {
        let dot = |i: usize, j: usize| (0..k).map(|p| a[i * k + p] * b_t[j * k + p]).sum();
        (0..m * n).map(|x| dot(x / n, x % n)).collect()
    }

    #[test]
    fn strided_transposed_and_accumulating_products_match_a_triple_loop() {
        for (m, n, k) in [(1, 5, 7), (3, 1, 64), (17, 33, 65), (70, 66, 130), (4, 4, 0)] {
            let (a, b) = (noise(m * k, 1), noise(n * k, 2));
            let stride = n + 3;
            let mut out = vec![1.0; m * stride];
            gemm(&mut out, stride, Mat::new(&a, m, k, k), Mat::new(&b, n, k, k).t(), true, Parallelism::None);
            let expected = naive(&a, &b, m, n, k);
            for i in 0..m {
                let row: Vec<f32> = out[i * stride..i * stride + n].iter().map(|v| v - 1.0).collect();
                assert!(max_diff(&row, &expected[i * n..(i + 1) * n]) < 1e-4);
                assert_eq!(out[i * stride + n..(i + 1) * stride], [1.0; 3]);
            }
        }
    }

    #[test]
    fn thread_count_does_not_change_bits() {
        let (m, n, k) = (300, 200, 1100);
        let (a, b) = (noise(m * k, 3), noise(n * k, 4));
        let run = |threads| {
            with_threads(threads, || {
                let mut out = vec![0.0; m * n];
                let (a, b) = (Mat::new(&a, m, k, k), Mat::new(&b, n, k, k).t());
                gemm(&mut out, n, a, b, false, Parallelism::Rayon(0));
                out
            })
        };
        assert_eq!(run(1), run(2));
    }
}
