//! What this machine can do at best, products and memory: the yardsticks for everything else.

use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use oops_core::Result;

use crate::{kernels, lift::Lift};

/// GFLOP/s of a 2048³ f32 matmul through the tensor library, best of 3, all threads.
pub fn gemm_ceiling() -> Result<f64> {
    const N: usize = 2048;
    let a = Tensor::ones((N, N), DType::F32, &Device::Cpu).lift()?;
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let start = Instant::now();
        std::hint::black_box(a.matmul(&a).lift()?);
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(2.0 * (N as f64).powi(3) / best / 1e9)
}

/// GB/s at which all threads together read 256 MiB that no cache holds, best of 3.
pub fn read_ceiling() -> f64 {
    const VALUES: usize = 1 << 26;
    let values = vec![1.0_f32; VALUES];
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let start = Instant::now();
        std::hint::black_box(kernels::total(&values));
        best = best.min(start.elapsed().as_secs_f64());
    }
    (4 * VALUES) as f64 / best / 1e9
}
