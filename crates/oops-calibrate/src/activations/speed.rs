//! How fast the pass was.

use oops_core::{Device, Result};
use oops_model::{Checkpoint, gemm_ceiling};
use oops_stage::{Cx, peak_rss_bytes};
use serde::Serialize;

use super::Params;
use crate::{flops, hidden::Batch};

/// Seconds spent in the parts of the pass.
#[derive(Default, Serialize)]
pub(super) struct Clock {
    pub(super) load: f64,
    pub(super) forward: f64,
    pub(super) gram: f64,
    pub(super) moments: f64,
    pub(super) write: f64,
}

/// Records speed beside the machine's GEMM rate, measured right after the pass, and the peak of memory.
pub(super) fn report(
    params: &Params,
    checkpoint: &Checkpoint,
    batches: &[Batch],
    first: usize,
    seconds: f64,
    clock: &Clock,
    cx: &Cx<'_>,
) -> Result<()> {
    let mut dims = checkpoint.config().dims.clone();
    dims.blocks.drain(..first);
    let lengths: Vec<usize> = batches.iter().flat_map(|b| b.lengths.clone()).collect();
    let gflops = flops::of_pass(&dims, &lengths, params.gram) / seconds.max(1e-9) / 1e9;
    cx.measure("peak_rss_bytes", peak_rss_bytes());
    cx.measure("seconds", clock);
    cx.measure("blocks_run", dims.blocks.len());
    cx.measure("tokens_per_s", lengths.iter().sum::<usize>() as f64 / seconds.max(1e-9));
    cx.measure("gflops", gflops);
    if cx.device == Device::Cpu {
        let ceiling = gemm_ceiling()?;
        cx.measure("gemm_ceiling_gflops", ceiling);
        cx.measure("share_of_gemm_ceiling", gflops / ceiling);
    }
    Ok(())
}
