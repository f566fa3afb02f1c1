//! What this machine's matrix products can do at best: the yardstick for everything else.

use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use oops_core::Result;

use crate::lift::Lift;

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
