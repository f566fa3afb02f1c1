//! The decoder's arithmetic on plain f32 slices: one file per operation, each compiled for AVX-512, for AVX2 with
//! FMA and for the baseline, and chosen at run time; all give the same bits.
//!
//! Matrices are row-major, one row per token. Parallel pieces are fixed by shape, never by the number of threads, so
//! the same input gives the same bits whatever the pool.

/// Runs a closure compiled for AVX-512 or for AVX2 and FMA where this CPU has them; what it calls must be `#[inline(always)]`.
///
/// A macro, because the closure itself must be inlined into the function that has those features: each arm gets its own
/// copy, and a closure with a single caller is inlined whatever its size. With a shared closure, `mul_add` became a call.
macro_rules! simd {
    ($closure:expr) => {{
        #[cfg(target_arch = "x86_64")]
        match (pulp::x86::V4::try_new(), pulp::x86::V3::try_new()) {
            (Some(wide), _) => wide.vectorize($closure),
            (None, Some(wide)) => wide.vectorize($closure),
            (None, None) => ($closure)(),
        }
        #[cfg(not(target_arch = "x86_64"))]
        ($closure)()
    }};
}

mod attention;
mod attention_few;
mod attention_grad;
mod divergence;
mod few_rows;
mod gemm;
mod grad;
mod lanes;
mod linear;
mod loss;
mod norm;
mod rope;
mod swiglu;
mod total;
mod vector;

pub(crate) use attention::{AttentionShape, attention, attention_after};
pub(crate) use attention_few::attention_few;
pub(crate) use attention_grad::attention_grad;
pub(crate) use divergence::{row_divergences, row_divergences_grad};
pub(crate) use few_rows::{FEW_ROWS, linear_few};
pub(crate) use grad::{cross_entropy_grad, masked_softmax, masked_softmax_grad, rms_norm_grad, swiglu_grad};
pub(crate) use linear::{add_into, bias_grad, combine, linear, linear_grad, scale_by, weight_grad};
pub(crate) use loss::{row_losses, row_losses_grad};
pub(crate) use norm::rms_norm;
pub(crate) use rope::{RopeTable, rotate, rotate_back};
pub(crate) use swiglu::{swiglu, swiglu_piece, swiglu_slopes};
pub(crate) use total::total;

/// Rows that one parallel task takes in row-wise kernels: enough to hide the cost of a task.
const ROWS_PER_TASK: usize = 32;

#[cfg(test)]
pub(crate) mod testing {
    //! Pseudo-random inputs and comparisons for kernel tests.

    /// `n` values in [−1, 1) from a fixed generator.
    pub(crate) fn noise(n: usize, seed: u64) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2).wrapping_add(1);
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        (0..n).map(|_| next()).collect()
    }

    /// Largest absolute difference.
    pub(crate) fn max_diff(a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
    }

    /// ‖a − b‖ / ‖b‖.
    pub(crate) fn relative_distance(a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len());
        let difference: f32 = a.iter().zip(b).map(|(x, y)| (x - y).powi(2)).sum();
        (difference / b.iter().map(|y| y * y).sum::<f32>()).sqrt()
    }

    /// Runs `f` in a pool of `threads`.
    pub(crate) fn with_threads<R: Send>(threads: usize, f: impl FnOnce() -> R + Send) -> R {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(f)
    }
}
