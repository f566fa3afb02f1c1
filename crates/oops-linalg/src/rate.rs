//! What products in f64 can do at best on this machine: the yardstick for factors and solves.

use std::time::Instant;

use faer::Mat;
use oops_core::finite::smaller;

use crate::product::add_product;

/// GFLOP/s of an f64 product of 2048 × 2048 matrices, best of 3, all threads.
pub fn f64_product_rate() -> f64 {
    const N: usize = 2048;
    let a = Mat::<f64>::from_fn(N, N, |i, j| ((i * 7 + j * 3) % 11) as f64 - 5.0);
    let mut out = Mat::<f64>::zeros(N, N);
    let seconds = (0..3).map(|_| {
        let start = Instant::now();
        add_product(out.as_mut(), a.as_ref(), a.as_ref(), 1.0);
        start.elapsed().as_secs_f64()
    });
    let best = seconds.fold(f64::INFINITY, smaller);
    std::hint::black_box(&out);
    2.0 * (N as f64).powi(3) / best / 1e9
}
