//! How time grows with tokens, depth and width, beside how the number of operations does.
//!
//! Small random models differ in one size at a time, which doubles from point to point. A line fitted to the logarithms of
//! seconds gives the exponent: 1 where time is linear in that size, 2 where quadratic, 3 where cubic. The same fit to
//! operations says what the exponent would be if every operation took the same time.

use std::{
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use oops_core::{BlockDims, Result};
use oops_linalg::stats::slope;
use oops_model::{ComputeDtype, DType};
use oops_stage::Registry;

use crate::{Like, ModelSpec, SolveSize, StageBench, Subject, bench_stages, report::Figures, solve, write_model};

/// One size that doubles while the others stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// Calibration, tokens.
    Tokens,
    /// Calibration, blocks.
    Depth,
    /// Calibration, width of the residual stream and, with it, of everything else.
    Width,
    /// Ridge repair of a module, width.
    Repair,
}

/// Tokens of a sequence.
const SEQUENCE: usize = 512;

/// Width of the residual stream, blocks, sequences.
#[derive(Clone, Copy, Debug)]
struct Size(usize, usize, usize);

impl Growth {
    /// All of them, in the order of the plot.
    pub const ALL: [Self; 4] = [Self::Tokens, Self::Depth, Self::Width, Self::Repair];
    /// By how much the smallest size is multiplied.
    pub const STEPS: [usize; 4] = [1, 2, 4, 8];

    /// Name in figures and in the plot.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::Depth => "depth",
            Self::Width => "width",
            Self::Repair => "repair_width",
        }
    }

    /// The smallest size, in its own unit.
    pub fn smallest(self) -> usize {
        match self {
            Self::Tokens => 2048,
            Self::Depth => 1,
            Self::Width | Self::Repair => 256,
        }
    }

    /// The model and text of a calibration at `step` times the smallest size.
    fn size(self, step: usize) -> Size {
        let grown = step * self.smallest();
        match self {
            Self::Tokens => Size(512, 2, grown / SEQUENCE),
            Self::Depth => Size(512, grown, 4),
            Self::Width | Self::Repair => Size(grown, 2, 4),
        }
    }

    /// Name of the seconds at `step`.
    pub fn seconds(self, step: usize) -> String {
        format!("{}.seconds_at_{}", self.name(), step * self.smallest())
    }

    /// Name of the operations (10⁹) at `step`.
    pub fn operations(self, step: usize) -> String {
        format!("{}.gflop_at_{}", self.name(), step * self.smallest())
    }
}

/// Parts of the pass over the blocks that `calibrate.activations` reports.
const PARTS: [&str; 5] = ["load", "forward", "gram", "moments", "write"];

/// FFN channels of a model of width `hidden`: LLaMA's ratio, as a fraction that keeps widths whole.
fn ffn(hidden: usize) -> usize {
    hidden * 11 / 4
}

fn model(folder: &Path, Size(hidden, blocks, _): Size) -> Result<PathBuf> {
    let path = folder.join(format!("model-{hidden}-{blocks}"));
    if !path.exists() {
        let mut config = Like::Llama27b.config(Some(blocks), DType::BF16);
        let block = BlockDims { query_heads: hidden / 64, kv_heads: hidden / 64, head_dim: 64, ffn: ffn(hidden) };
        (config.dims.hidden, config.dims.vocab, config.dims.blocks) = (hidden, 512, vec![block; blocks]);
        write_model(&ModelSpec { config, seed: 0 }, &path, &mut |_, _| ())?;
    }
    Ok(path)
}

/// Seconds and 10⁹ operations at one point.
fn point(growth: Growth, step: usize, folder: &Path, registry: &Registry, cancel: &AtomicBool) -> Result<(f64, f64)> {
    let size = growth.size(step);
    let figure = |of: &Figures, name: &str| of.get(name).copied().unwrap_or(f64::NAN);
    if growth == Growth::Repair {
        let channels = ffn(size.0);
        let found = solve(SolveSize { channels, kept: (channels * 4).div_ceil(5), outputs: size.0 })?;
        let seconds = figure(&found, "seconds");
        return Ok((seconds, seconds * figure(&found, "gflops")));
    }
    let subject = Subject {
        model: model(folder, size)?,
        sequences: size.2,
        sequence_tokens: SEQUENCE,
        compute_dtype: ComputeDtype::F32,
    };
    let runs = bench_stages(StageBench::Calibrate, &subject, registry, 1, cancel, &mut |_| ())?;
    let found = runs.into_iter().next().unwrap_or_default();
    // The pass alone: around it the stage embeds, publishes, and measures the GEMM ceiling, whatever the size.
    let seconds = PARTS.map(|part| figure(&found, &format!("seconds_{part}"))).iter().sum();
    Ok((seconds, figure(&found, "seconds") * figure(&found, "gflops")))
}

/// Measures every point once; models are written to `folder` where they are not there yet.
pub fn growth(folder: &Path, registry: &Registry, cancel: &AtomicBool) -> Result<Figures> {
    let mut all = Figures::new();
    for growth in Growth::ALL {
        let points = Growth::STEPS.map(|step| point(growth, step, folder, registry, cancel).map(|p| (step, p)));
        let points = points.into_iter().collect::<Result<Vec<_>>>()?;
        let exponent = |of: fn((f64, f64)) -> f64| {
            let logs: Vec<_> = points.iter().map(|&(step, p)| ((step as f64).ln(), of(p).ln())).collect();
            slope(&logs)
        };
        let name = growth.name();
        all.insert(format!("{name}.exponent"), exponent(|(seconds, _)| seconds));
        all.insert(format!("{name}.exponent_of_operations"), exponent(|(_, operations)| operations));
        for &(step, (seconds, operations)) in &points {
            all.insert(growth.seconds(step), seconds);
            all.insert(growth.operations(step), operations);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_size_doubles_while_the_others_stay() {
        let sizes = |growth: Growth| Growth::STEPS.map(|step| growth.size(step));
        for [a, b] in Growth::ALL.map(sizes).iter().flat_map(|s| [[s[0], s[1]], [s[1], s[2]], [s[2], s[3]]]) {
            let ratios = [(a.0, b.0), (a.1, b.1), (a.2, b.2)].map(|(a, b)| b / a);
            assert_eq!(ratios.iter().product::<usize>(), 2, "{a:?} {b:?}");
        }
        assert_eq!(Growth::Tokens.size(1).2 * 512, Growth::Tokens.smallest());
        assert_eq!(Growth::Width.seconds(4), "width.seconds_at_1024");
    }
}
