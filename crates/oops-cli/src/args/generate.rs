//! Arguments of `oops generate`.

use std::path::PathBuf;

use clap::Args;

use super::path::path;

#[derive(Debug, Args)]
pub(crate) struct Generate {
    /// Checkpoint (Hugging Face folder or GGUF file), or a pipeline file with a stage that made a model.
    #[arg(value_name = "MODEL|PIPELINE.yaml", value_parser = path())]
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
