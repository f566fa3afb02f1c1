//! Arguments of the commands that care for the store.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{Pipeline, path::path};

pub(super) const GC_HELP: &str = "\
Examples:
  oops gc
  oops gc --older-than 30d --delete
  oops gc --keep-size 20GB --delete

Always goes: blobs of no result, leftovers of dead processes, damaged/, and, after 7 days without use, results that no recorded \
run refers to and work folders of unfinished stages. What a running process uses stays. Deleted results are made again when \
they are needed.";

pub(super) const EXPORT_HELP: &str = "\
Examples:
  oops export-cache pipelines/llama.yaml stats -o stats.oops.tar
  oops import-cache stats.oops.tar

Results are found by what they were made from, not by paths: the same checkpoint and text elsewhere find them.";

#[derive(Debug, Args)]
pub(crate) struct Gc {
    /// Results that were not used for this long go too, and logs of runs that old of which no result is left: 30d, 2w, 12h.
    #[arg(long, value_name = "TIME", value_parser = crate::units::duration)]
    pub(crate) older_than: Option<Duration>,
    /// Results that were used least recently go too, until the store is no larger: 20GB, 512MiB.
    #[arg(long, value_name = "SIZE", value_parser = crate::units::bytes)]
    pub(crate) keep_size: Option<u64>,
    /// Delete; without it, only say what would go, with exit code 1 if anything would.
    #[arg(long, visible_alias = "yes")]
    pub(crate) delete: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExportCache {
    #[command(flatten)]
    pub(crate) pipeline: Pipeline,
    /// The stage.
    #[arg(value_name = "STAGE")]
    pub(crate) stage: String,
    /// The file to write.
    #[arg(long, short, value_name = "FILE", value_parser = path())]
    pub(crate) out: PathBuf,
    /// Also what it was made from, except for stages that only refer to files outside the store.
    #[arg(long)]
    pub(crate) with_inputs: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ImportCache {
    /// The file.
    #[arg(value_name = "FILE", value_parser = path())]
    pub(crate) file: PathBuf,
    /// Only check the file and say what is in it.
    #[arg(long)]
    pub(crate) check: bool,
}
