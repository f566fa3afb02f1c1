//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use oops_engine::Selection;

const EXIT_CODES: &str = "\
Exit codes: 0 done · 1 a gate said no (run and sweep --dry-run: something would run; verify: damage) · 2 pipeline, parameter or \
flag is wrong · 3 an input is wrong or missing · 4 a computation has no usable answer · 5 device · 6 the store cannot be \
read or written · 70 a bug of this program · 130 interrupted";

/// Structured pruning of large language models as a graph of cached stages.
#[derive(Debug, Parser)]
#[command(name = "oops", version, after_help = EXIT_CODES, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Folder of the store [default: .oops in the workspace].
    #[arg(long, env = "OOPS_CACHE", value_name = "DIR", global = true)]
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
    Status(Pipeline),
    /// Draw the graph.
    Dag(Dag),
    /// Print what a stage made.
    #[command(after_help = SHOW_EXAMPLES)]
    Show(Show),
    /// Continue a prompt with a model.
    #[command(after_help = GENERATE_EXAMPLES)]
    Generate(Generate),
    /// Read everything in the store again and compare it with its digests.
    Verify,
    /// Make the embedded model and its texts again, from seeds (trains for minutes).
    Data(Data),
    /// List the stages, or the parameters of one.
    Stages(Stages),
}

const RUN_EXAMPLES: &str = "\
Examples:
  oops run pipelines/llama.yaml
  oops run pipelines/llama.yaml --set plan.with.remove_fraction=0.5
  oops run pipelines/llama.yaml quality --set scores.use=score.wanda
  oops run pipelines/llama.yaml --from pruned --dry-run";

const SWEEP_EXAMPLES: &str = "\
Examples:
  oops sweep pipelines/llama.yaml --set plan.with.remove_fraction=0.2,0.3,0.5 --set scores.use=score.flap,score.wanda
  oops sweep pipelines/ablations/methods.yaml --dry-run
  oops sweep pipelines/ablations/methods.yaml --row FLAP --row OOPS --keep-going
  oops sweep pipelines/ablations/*.yaml --markdown docs/results.md

A sweep file has version, about, pipeline (of every row, relative to the file), set (for all rows), columns (NAME: \
overrides), rows (NAME: { pipeline, set, judge }), seeds, judge (the model that fills the table) and figures (the stages whose \
figures do; all without it). In a set, null drops what the pipeline gives. Killed or stopped, the same command goes on.";

const SHOW_EXAMPLES: &str = "\
Examples:
  oops show pipelines/llama.yaml quality --json
  oops show pipelines/llama.yaml plan
  oops show pipelines/llama.yaml pruned --out pruned-model";

const GENERATE_EXAMPLES: &str = "\
Examples:
  oops generate data/model --prompt 'Once upon a time'
  oops generate SmolLM2-135M-Instruct.Q4_1.gguf --chat --prompt 'Why is the sky blue?' --tokens 200
  oops generate pipelines/llama.yaml pruned --prompt 'Tom had' --temperature 0.8 --top-p 0.9 --seed 3
  oops generate pipelines/llama.yaml pruned --set plan.with.remove_fraction=0.5 --prompt 'Tom had' --json

Text goes to stdout as it comes, speeds go to stderr. The prompt starts with the special tokens that the tokenizer itself adds.";

/// A pipeline file with overrides.
#[derive(Debug, Args)]
pub(crate) struct Pipeline {
    /// Pipeline file.
    #[arg(value_name = "PIPELINE.yaml")]
    pub(crate) file: PathBuf,
    /// Override: STAGE.with.PARAM=VALUE, STAGE.use=NAME, STAGE.in.PORT=NAME or defaults.seed=NUMBER.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) overrides: Vec<String>,
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
    #[arg(value_name = "FILE.yaml", required = true)]
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
    /// Go on behind a cell that fails; the exit code is that of the first failure.
    #[arg(long)]
    pub(crate) keep_going: bool,
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
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
    /// Write one line per cell to this file, with all digits.
    #[arg(long, value_name = "FILE")]
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
    /// The stage.
    #[arg(value_name = "STAGE")]
    pub(crate) stage: String,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Instead of printing, copy the artifact's files into this folder.
    #[arg(long, value_name = "DIR", conflicts_with = "json")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Generate {
    /// Checkpoint (Hugging Face folder or GGUF file), or a pipeline file with a stage that made a model.
    #[arg(value_name = "MODEL|PIPELINE.yaml")]
    pub(crate) model: PathBuf,
    /// The stage, for a pipeline file.
    #[arg(value_name = "STAGE")]
    pub(crate) stage: Option<String>,
    /// Override, for a pipeline file, as with `run`.
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "stage")]
    pub(crate) overrides: Vec<String>,
    /// What to continue.
    #[arg(long, value_name = "TEXT")]
    pub(crate) prompt: String,
    /// Put the prompt as a user's message into the model's chat template.
    #[arg(long)]
    pub(crate) chat: bool,
    /// Tokens to make at most.
    #[arg(long, value_name = "N", default_value = "128", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) tokens: u32,
    /// Above 0, tokens are drawn: the higher, the more evenly; 0 always takes the likeliest.
    #[arg(long, value_name = "T", default_value = "0", allow_negative_numbers = true)]
    pub(crate) temperature: f64,
    /// Draw only from the likeliest tokens that together have this probability.
    #[arg(long = "top-p", value_name = "P", default_value = "1", allow_negative_numbers = true)]
    pub(crate) top_p: f64,
    /// Seed of the draws.
    #[arg(long, default_value = "0")]
    pub(crate) seed: u64,
    /// Print one JSON object (tokens, text, speeds) instead of the text.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Data {
    /// Folder that gets `model/`, `text/` and `README.md`.
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub(crate) out: PathBuf,
    /// Training steps [default: what the embedded model was made with].
    #[arg(long)]
    pub(crate) steps: Option<usize>,
    /// Seed of weights and training stories [default: what the embedded model was made with].
    #[arg(long)]
    pub(crate) seed: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Stages {
    /// Name of a stage, for example score.wanda.
    pub(crate) name: Option<String>,
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
