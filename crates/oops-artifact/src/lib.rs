//! Typed artifacts: what a stage's output is ([`Kind`]), which files it has ([`Tree`]) and how each kind is written
//! and read. Parquet for tables and matrices, JSON for records. Knows nothing of who made the bytes or where they live.

mod batches;
mod gradients;
mod heldout;
pub mod json;
mod kind;
mod measured_on;
mod metrics;
mod outliers;
mod parquet_io;
mod plan;
mod plan_file;
mod report;
mod scores;
mod stats;
mod tokens;
mod tree;

use std::path::Path;

pub use batches::{TokenBatch, holds_out, is_heldout};
pub use gradients::{
    GradientsInfo, LOSSES, curvature_file, gradients_file, read_curvature, read_gradients, read_losses,
    read_sequence_gradients, sequence_gradients_file, write_gradients, write_losses, write_sequence_gradients,
};
pub use heldout::{Heldout, HeldoutCounts, LEAST_SHARE, LEAST_TOKENS, Part, RUN, Rows};
pub use kind::Kind;
pub use measured_on::MeasuredOn;
pub use metrics::Metrics;
pub use outliers::{ResidualStats, outliers_file, read_massive_dimensions, residual_file, tokens_file};
pub use parquet_io::Table;
pub use plan::{PlanInfo, read_plan, write_plan};
pub use plan_file::{PlanFile, Step};
pub use report::{Column, ReportTable};
pub use scores::{BlockScores, Scale, Scores, ScoresInfo, UnitScores};
pub use stats::{
    ChannelStats, SiteStats, Split, StatsInfo, channels_file, gram_file, mix_grams, read_gram, read_gram_all,
    read_site, write_block, write_gram,
};
pub use tokens::{TokenSet, TokensInfo, text_digest};
pub use tree::{Artifact, Entry, Tree};

/// File that describes an artifact for people: printed by `oops show`.
pub const SUMMARY: &str = "summary.json";

/// Something that takes finished files, for example the work folder of a running stage.
pub trait Sink {
    /// Stores one file: `write` fills the path that it is given.
    fn file(&self, name: &str, write: &mut dyn FnMut(&Path) -> oops_core::Result<()>) -> oops_core::Result<()>;
}
