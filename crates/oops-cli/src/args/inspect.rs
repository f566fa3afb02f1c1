//! Arguments of the commands that look at what was recorded.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::path::path;

pub(crate) const LOG_EXAMPLES: &str = "\
Examples:
  oops log
  oops log pipelines/llama.yaml -n 5
  oops log --json | jq 'select(.failed)'

A run that found everything in the store, and resolved to what the run before it did, is not written down again. `oops show` and \
`oops diff` take a run's id, its first digits, `latest` or `latest~1`.";

pub(crate) const TABLE_EXAMPLES: &str = "\
Examples:
  oops table pipelines/llama.yaml
  oops table pipelines/llama.yaml --sort quality --filter 'quality<40' --filter plan.remove_fraction=0.5
  oops table pipelines/ablations/embedded.yaml --columns '^(plan|quality)' --md
  oops table pipelines/*.yaml --all-columns --csv > runs.csv

Parameters are columns STAGE.PARAM and STAGE.use, figures STAGE (perplexity of the model that was made), STAGE.FIGURE and \
STAGE.MODEL.FIGURE. Without --all-columns, parameters on which all rows agree are left out. A run whose results are all part of \
another row has none of its own.";

pub(crate) const DIFF_EXAMPLES: &str = "\
Examples:
  oops diff latest~1 latest
  oops diff 3f2a 91c0 --json
  oops diff pipelines/llama.yaml pipelines/oops.yaml
  oops diff a/plan.json b/plan.json

A pipeline file stands for what is in the store for it now.";

pub(crate) const SCHEMA_EXAMPLES: &str = "\
Examples:
  oops schema pipeline
  oops schema sweep | jq .properties
  oops schema --out pipelines

Editors with a YAML language server use a schema that the first line of a file names:
  # yaml-language-server: $schema=schema.json";

pub(crate) const EXPORT_PLAN_EXAMPLES: &str = "\
Examples:
  oops export-plan pipelines/llama.yaml plan --out plan.json
  oops export-plan latest plan

The stage source.plan applies it to another checkpoint of the same shape; oops diff a.json b.json compares two.";

pub(crate) const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  oops completions bash > ~/.local/share/bash-completion/completions/oops
  oops completions zsh > ~/.zfunc/_oops
  oops completions fish > ~/.config/fish/completions/oops.fish";

#[derive(Debug, Args)]
pub(crate) struct Log {
    /// Only runs of this pipeline file.
    #[arg(value_name = "PIPELINE.yaml", value_parser = path())]
    pub(crate) file: Option<PathBuf>,
    /// Only the newest so many.
    #[arg(short = 'n', long = "number", value_name = "N")]
    pub(crate) number: Option<usize>,
    /// Print one JSON object per run.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Table {
    /// Pipeline files (all recorded runs of each) or sweep files (their cells).
    #[arg(value_name = "FILE.yaml", required = true, value_parser = path())]
    pub(crate) files: Vec<PathBuf>,
    /// Show every column, also those that are the same in all rows.
    #[arg(long)]
    pub(crate) all_columns: bool,
    /// Only columns whose names match.
    #[arg(long, value_name = "REGEX")]
    pub(crate) columns: Option<String>,
    /// No columns whose names match.
    #[arg(long, value_name = "REGEX")]
    pub(crate) drop: Option<String>,
    /// Only rows that pass: COLUMN, one of < <= = != >= >, and a value; several must all hold.
    #[arg(long = "filter", value_name = "CONDITION")]
    pub(crate) filters: Vec<String>,
    /// Sort by this column, downwards with a minus before it.
    #[arg(long, value_name = "COLUMN", allow_hyphen_values = true)]
    pub(crate) sort: Option<String>,
    #[command(flatten)]
    pub(crate) form: TableForm,
}

/// How a table is printed; without any, as aligned columns.
#[derive(Debug, Args)]
pub(crate) struct TableForm {
    /// Print comma-separated values with all digits.
    #[arg(long, group = "form")]
    pub(crate) csv: bool,
    /// Print Markdown.
    #[arg(long, group = "form")]
    pub(crate) md: bool,
    /// Print one JSON array with an object per row.
    #[arg(long, group = "form")]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// Run, pipeline file or plan file.
    #[arg(value_name = "RUN")]
    pub(crate) old: String,
    /// What to compare it with.
    #[arg(value_name = "RUN")]
    pub(crate) new: String,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Schema {
    /// The kind of file.
    #[arg(value_enum, default_value = "pipeline")]
    pub(crate) of: SchemaOf,
    /// Write both schemas into this folder instead: schema.json and sweep.schema.json.
    #[arg(long, value_name = "DIR", conflicts_with = "of", value_parser = path())]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SchemaOf {
    /// Pipeline files.
    Pipeline,
    /// Sweep files.
    Sweep,
}

#[derive(Debug, Args)]
pub(crate) struct ExportPlan {
    /// Pipeline file, or a run as in `oops log`.
    #[arg(value_name = "PIPELINE.yaml", value_parser = path())]
    pub(crate) from: PathBuf,
    /// The stage that made the plan.
    #[arg(value_name = "STAGE")]
    pub(crate) stage: String,
    /// Override, as in `oops run`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) overrides: Vec<String>,
    /// Write to this file instead of stdout.
    #[arg(long, short, value_name = "FILE", value_parser = path())]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell.
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct Stages {
    /// Name of a stage, for example score.wanda.
    pub(crate) name: Option<String>,
    /// Print JSON: one array, or one object with the JSON Schema of the parameters.
    #[arg(long)]
    pub(crate) json: bool,
}
