//! The command line.

mod bench;
mod examples;
mod generate;
mod inspect;
mod path;
mod scheduling;
mod store;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use oops_engine::Selection;

pub(crate) use self::bench::{Bench, BenchWhat, Calibrating, Computed, OnModel, Repeats, Stored};
use self::examples::{
    BENCH_EXAMPLES, DAG_EXAMPLES, GENERATE_EXAMPLES, RUN_EXAMPLES, SHOW_EXAMPLES, STAGES_EXAMPLES, STATUS_EXAMPLES,
    SWEEP_EXAMPLES,
};
pub(crate) use self::generate::Generate;
pub(crate) use self::inspect::*;
use self::path::path;
pub(crate) use self::scheduling::Scheduling;
pub(crate) use self::store::{ExportCache, Gc, ImportCache};

const EXIT_CODES: &str = "\
Exit codes: 0 done · 1 a gate said no (run and sweep --dry-run: something would run; verify: damage; \
bench --against: slower; \
gc without --delete: something would go) · 2 pipeline, parameter or \
flag is wrong · 3 an input is wrong or missing · 4 a computation has no usable answer · 5 device · 6 the store cannot be \
read or written · 70 a bug of this program · 130 interrupted";

/// Structured pruning of large language models as a graph of cached stages.
#[derive(Debug, Parser)]
#[command(name = "oops", version, after_help = EXIT_CODES, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Folder of the store [default: .oops in the workspace].
    #[arg(long, env = "OOPS_CACHE", value_name = "DIR", global = true, value_parser = path())]
    pub(crate) cache: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run what is not in the store yet.
    #[command(after_help = RUN_EXAMPLES)]
    Run(Run),
    /// Run a table of pipelines, each stage once, and print their figures.
    #[command(after_help = SWEEP_EXAMPLES)]
    Sweep(SweepArgs),
    /// Say for each stage whether it would run, and why.
    #[command(after_help = STATUS_EXAMPLES)]
    Status(Status),
    /// Draw the graph.
    #[command(after_help = DAG_EXAMPLES)]
    Dag(Dag),
    /// Print what a stage made, or what a run did.
    #[command(after_help = SHOW_EXAMPLES)]
    Show(Show),
    /// List the runs that were written down, newest first.
    #[command(after_help = LOG_EXAMPLES)]
    Log(Log),
    /// Print all recorded runs of a pipeline, or the cells of a sweep, as one table.
    #[command(after_help = TABLE_EXAMPLES)]
    Table(Table),
    /// Compare two runs, pipelines or plan files: parameters, stages, plans and figures.
    #[command(after_help = DIFF_EXAMPLES)]
    Diff(Diff),
    /// Write a plan with its provenance as one file to publish.
    #[command(after_help = EXPORT_PLAN_EXAMPLES)]
    ExportPlan(ExportPlan),
    /// Print the JSON Schema of pipeline or sweep files.
    #[command(after_help = SCHEMA_EXAMPLES)]
    Schema(Schema),
    /// Print a script that completes commands and flags in a shell.
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions(Completions),
    /// Continue a prompt with a model.
    #[command(after_help = GENERATE_EXAMPLES)]
    Generate(Generate),
    /// Read everything in the store again and compare it with its digests.
    Verify,
    /// Say what nobody needs any more in the store; with --delete, delete it.
    #[command(after_help = store::GC_HELP)]
    Gc(Gc),
    /// Write what a stage made into one file, for another machine's store.
    #[command(after_help = store::EXPORT_HELP)]
    ExportCache(ExportCache),
    /// Take results from a file of export-cache into the store.
    ImportCache(ImportCache),
    /// Measure what this machine does with kernels and stages, beside what it could do.
    #[command(after_help = BENCH_EXAMPLES)]
    Bench(Bench),
    /// Make the embedded model and its texts again, from seeds (trains for minutes).
    Data(Data),
    /// List the stages, or all about one.
    #[command(after_help = STAGES_EXAMPLES)]
    Stages(Stages),
}

/// A pipeline file with overrides.
#[derive(Debug, Args)]
pub(crate) struct Pipeline {
    /// Pipeline file.
    #[arg(value_name = "PIPELINE.yaml", value_parser = path())]
    pub(crate) file: PathBuf,
    /// Override: STAGE.with.PARAM=VALUE, STAGE.use=NAME, STAGE.in.PORT=NAME or defaults.seed=NUMBER. A value is YAML; where
    /// YAML would drop a part of it or cannot read it, and where the parameter takes text, it is the text as typed.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) overrides: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) pipeline: Pipeline,
    /// Say everything that changed for this stage since the last run, down to the root causes; of a stage that is in the
    /// store, also how its result was made.
    #[arg(long, value_name = "STAGE")]
    pub(crate) explain: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) pipeline: Pipeline,
    /// Make only these stages, with all that they are made from.
    #[arg(value_name = "STAGE")]
    targets: Vec<String>,
    /// Run only this stage and what is made from it; everything else must be in the store.
    #[arg(long, value_name = "STAGE")]
    from: Option<String>,
    /// Run only this stage and what it is made from.
    #[arg(long, value_name = "STAGE")]
    to: Option<String>,
    /// Run only this stage; its inputs must be in the store.
    #[arg(long, value_name = "STAGE", conflicts_with_all = ["from", "to", "targets"])]
    only: Option<String>,
    /// Run this stage even if its result is in the store.
    #[arg(long, value_name = "STAGE")]
    force: Vec<String>,
    /// Only say what would run; exit code 1 if anything would.
    #[arg(long = "dry-run")]
    pub(crate) preview: bool,
    #[command(flatten)]
    pub(crate) scheduling: Scheduling,
    /// Print one JSON object as the last line of stdout; everything else goes to stderr.
    #[arg(long)]
    pub(crate) json: bool,
    /// Print only warnings, errors and reports.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

impl Run {
    pub(crate) fn selection(&self) -> Selection {
        Selection {
            targets: self.targets.clone(),
            from: self.from.clone(),
            to: self.to.clone(),
            only: self.only.clone(),
            force: self.force.clone(),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct SweepArgs {
    /// Sweep files, or pipeline files.
    #[arg(value_name = "FILE.yaml", required = true, value_parser = path())]
    pub(crate) files: Vec<PathBuf>,
    /// Override for all rows; with a pipeline file, several values separated by commas make rows.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) overrides: Vec<String>,
    /// Only this row; may be given several times.
    #[arg(long = "row", value_name = "NAME")]
    pub(crate) rows: Vec<String>,
    /// The stage whose model fills the table, for rows that name none.
    #[arg(long, value_name = "STAGE")]
    pub(crate) judge: Option<String>,
    #[command(flatten)]
    pub(crate) scheduling: Scheduling,
    /// Only say what would run, each stage once; exit code 1 if anything would.
    #[arg(long = "dry-run")]
    pub(crate) preview: bool,
    #[command(flatten)]
    pub(crate) output: SweepOutput,
}

/// Where a sweep's tables go.
#[derive(Debug, Args)]
pub(crate) struct SweepOutput {
    /// Write the tables with their protocols to this file, one section per sweep.
    #[arg(long, value_name = "FILE", value_parser = path())]
    pub(crate) markdown: Option<PathBuf>,
    /// Write one line per cell to this file, with all digits.
    #[arg(long, value_name = "FILE", value_parser = path())]
    pub(crate) csv: Option<PathBuf>,
    /// Print one JSON object as the last line of stdout; everything else goes to stderr.
    #[arg(long)]
    pub(crate) json: bool,
    /// Print only warnings, errors and tables.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Dag {
    #[command(flatten)]
    pub(crate) pipeline: Pipeline,
    /// How to draw it.
    #[arg(long, value_enum, default_value = "ascii")]
    pub(crate) format: DagFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum DagFormat {
    /// A list in which each stage names its inputs.
    Ascii,
    /// Mermaid, for Markdown.
    Mermaid,
    /// Graphviz.
    Dot,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    pub(crate) pipeline: Pipeline,
    /// The stage; without it, a run's stages are listed.
    #[arg(value_name = "STAGE")]
    pub(crate) stage: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Instead of printing, copy the artifact's files into this folder.
    #[arg(long, value_name = "DIR", conflicts_with = "json", value_parser = path())]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Data {
    /// Folder that gets `model/`, `text/` and `README.md`.
    #[arg(long, value_name = "DIR", default_value = "data", value_parser = path())]
    pub(crate) out: PathBuf,
    /// Training steps [default: what the embedded model was made with].
    #[arg(long)]
    pub(crate) steps: Option<usize>,
    /// Seed of weights and training stories [default: what the embedded model was made with].
    #[arg(long)]
    pub(crate) seed: Option<u64>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_documents_exit_codes() {
        Cli::command().debug_assert();
        let help = Cli::command().render_long_help().to_string();
        assert!(help.contains("6 the store cannot be") && help.contains("130 interrupted"), "{help}");
        let only = ["oops", "run", "p.yaml", "--only", "a", "--from", "b"];
        assert!(Cli::try_parse_from(only).is_err());
    }
}
