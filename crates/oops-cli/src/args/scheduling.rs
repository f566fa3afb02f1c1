//! Arguments of the commands that run stages.

use std::path::PathBuf;

use clap::Args;
use oops_engine::Limits;
use oops_stage::available_bytes;

use super::path::path;
use crate::units::bytes;

/// How much runs at a time, and what becomes of failures and warnings.
#[derive(Debug, Args)]
pub(crate) struct Scheduling {
    /// Stages that run at a time; changes no result, but seconds that are measured.
    #[arg(long, short, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    /// Of them, stages that keep all cores busy: calibration, repair, distillation, evaluation.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    heavy: u16,
    /// Memory that stages side by side may need together, by their forecasts, for example 4GiB; a calibration that alone
    /// needs more keeps its activations on disk [default: 80 % of what is available].
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    memory: Option<u64>,
    /// Go on with everything that does not depend on what failed; the exit code is that of the first failure.
    #[arg(long)]
    pub(crate) keep_going: bool,
    /// Warnings are errors: those of checks before anything runs, a stage that warns while it runs is not published, and a
    /// result that was made with warnings is not used.
    #[arg(long, env = "OOPS_STRICT", value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) strict: bool,
    /// Write what happens to this file, one JSON object per line; `-` is stdout.
    #[arg(long, value_name = "FILE", value_parser = path())]
    pub(crate) events: Option<PathBuf>,
}

impl Scheduling {
    pub(crate) fn limits(&self) -> Limits {
        let memory = self.memory.or_else(|| available_bytes().map(|bytes| bytes / 5 * 4));
        let (jobs, heavy) = (usize::from(self.jobs), usize::from(self.heavy));
        Limits { jobs, heavy, memory, keep_going: self.keep_going, strict: self.strict }
    }
}
