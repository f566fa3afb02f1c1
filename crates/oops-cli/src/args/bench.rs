//! Arguments of `oops bench`.

use std::path::PathBuf;

use clap::{
    Args, Subcommand, ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
};
use oops_bench::Like;

use super::path::path;

#[derive(Debug, Args)]
pub(crate) struct Bench {
    #[command(subcommand)]
    pub(crate) what: BenchWhat,
}

/// How often, and how to print.
#[derive(Clone, Debug, Args)]
pub(crate) struct Repeats {
    /// Repetitions; medians are printed.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) runs: u32,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
    /// Compare shares with the report of the same benchmark in this file (one `--json` object per line); exit code 1 if
    /// even the best repetition is more than a tenth below.
    #[arg(long, value_name = "FILE", value_parser = path())]
    pub(crate) against: Option<PathBuf>,
}

/// What whole stages are measured on.
#[derive(Clone, Debug, Args)]
pub(crate) struct OnModel {
    /// Checkpoint [default: random weights in SmolLM2-135M's shape, made in a temporary folder].
    #[arg(long, value_name = "PATH", value_parser = path())]
    pub(crate) model: Option<PathBuf>,
    /// Number of sequences.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    pub(crate) sequences: u32,
    /// Tokens of each.
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    pub(crate) sequence_tokens: u32,
    #[command(flatten)]
    pub(crate) repeats: Repeats,
}

/// What stages that calibrate are measured on.
#[derive(Clone, Debug, Args)]
pub(crate) struct Calibrating {
    #[command(flatten)]
    pub(crate) on: OnModel,
    /// Precision of the operands of linear layers in calibration.
    #[arg(long, value_enum, value_name = "DTYPE", default_value_t = Computed::F32)]
    pub(crate) compute_dtype: Computed,
}

/// Precision of operands on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Computed {
    /// 32-bit floats.
    F32,
    /// bfloat16, summed in f32.
    Bf16,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchWhat {
    /// The machine's rate of matrix products, which the others are compared with.
    Gemm(Repeats),
    /// Gram accumulation, beside the rate of half a square product.
    Gram {
        /// Width of the site.
        #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        channels: u32,
        /// Tokens at a time.
        #[arg(long, value_name = "N", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        rows: u32,
        #[command(flatten)]
        repeats: Repeats,
    },
    /// Ridge repair of one module: factor and solve, beside the rate of f64 products.
    Solve {
        /// Channels before the cut.
        #[arg(long, value_name = "N", default_value_t = 1536, value_parser = clap::value_parser!(u32).range(2..=100_000))]
        channels: u32,
        /// Channels that stay [default: 80 %].
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
        kept: Option<u32>,
        /// Outputs of the module.
        #[arg(long, value_name = "N", default_value_t = 576, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        outputs: u32,
        #[command(flatten)]
        repeats: Repeats,
    },
    /// The selection program: counts per block from scores and a budget.
    Select {
        /// Number of units (a LLaMA-2-7B has 353,280 with one KV group per head).
        #[arg(long, value_name = "N", default_value_t = 353_280, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
        units: u32,
        /// Number of blocks.
        #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        blocks: u32,
        #[command(flatten)]
        repeats: Repeats,
    },
    /// Reading a checkpoint block by block to f32, beside reading its files.
    Read {
        /// Checkpoint.
        #[arg(value_parser = path())]
        model: PathBuf,
        #[command(flatten)]
        repeats: Repeats,
    },
    /// Publishing an artifact into a store, beside writing a file.
    Publish {
        /// Folder on the file system to measure [default: the temporary folder].
        #[arg(long, value_name = "DIR", value_parser = path())]
        folder: Option<PathBuf>,
        /// Size of the artifact.
        #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = crate::units::bytes)]
        size: u64,
        #[command(flatten)]
        repeats: Repeats,
    },
    /// `calibrate.activations` with Gram matrices.
    Calibrate(Calibrating),
    /// `calibrate.gradients`.
    Gradients(Calibrating),
    /// `eval.perplexity`.
    Evaluate(OnModel),
    /// Decoding token by token, beside the rate at which memory is read.
    Decode {
        /// Checkpoint [default: random weights in SmolLM2-135M's shape, made in a temporary folder].
        #[arg(long, value_name = "PATH", value_parser = path())]
        model: Option<PathBuf>,
        /// Tokens that are read before.
        #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        prompt_tokens: u32,
        /// Tokens that are decoded.
        #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        tokens: u32,
        #[command(flatten)]
        repeats: Repeats,
    },
    /// `distill.blockwise`, one epoch, on a model cut to 70 %.
    Distill(OnModel),
    /// Calibration, FLAP scores, one threshold and ridge repair, with seconds per stage.
    Prune(Calibrating),
    /// OOPS without training, from calibration to repair, with seconds per stage.
    Oops(Calibrating),
    /// How time grows with tokens, depth and width: exponents beside those of the number of operations.
    Growth {
        /// Draw medians and theory into this SVG file.
        #[arg(long, value_name = "FILE", value_parser = path())]
        plot: Option<PathBuf>,
        #[command(flatten)]
        repeats: Repeats,
    },
    /// Write a checkpoint with random weights in the shape of a published model.
    MakeModel {
        /// Shape.
        #[arg(long, value_name = "NAME", value_parser = like())]
        like: Like,
        /// Number of blocks [default: as published].
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
        blocks: Option<u32>,
        /// Precision of the weights.
        #[arg(long, value_enum, default_value = "f16")]
        dtype: Stored,
        /// Seed of the weights.
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// New folder.
        #[arg(value_name = "DIR", value_parser = path())]
        out: PathBuf,
    },
}

/// Precision on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Stored {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// bfloat16.
    Bf16,
}

/// Reads the name of a shape.
fn like() -> impl TypedValueParser<Value = Like> {
    let named = |name: String| Like::ALL.into_iter().find(|like| like.name() == name).ok_or("no such shape");
    PossibleValuesParser::new(Like::ALL.map(Like::name)).try_map(named)
}
