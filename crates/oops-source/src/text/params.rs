//! What `source.text` is told.

use oops_core::{Fault, Result, bail_if};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::paths::Paths;

/// Between documents where nothing else is said: `"\n\n".join(rows)` is the text that perplexities of data sets are
/// published for.
const SEPARATOR: &str = "\n\n";

/// How sequences are cut from documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Packing {
    /// One sequence per document, whole.
    Documents,
    /// Documents one after another, cut into equal sequences from the start; the tail is dropped.
    Packed,
    /// Documents one after another; sequences start at random tokens (seeded).
    Random,
}

impl Packing {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Documents => "documents",
            Self::Packed => "packed",
            Self::Random => "random",
        }
    }
}

/// Parameters of [`super::SourceText`].
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// A `.txt` (one document), `.jsonl` or `.parquet` file (one document per row), a folder of them, a pattern
    /// (`shards/*.parquet`), or a list of these; relative to the pipeline file. Files of folders and patterns are read in
    /// the order of their names.
    pub(super) path: Paths,
    /// JSON key or Parquet column that holds the text, or a chat as a list of messages with `role` and `content`, which
    /// becomes text by the model's chat template; `a.b` is `b` inside `a`.
    #[serde(default = "text_field")]
    pub(super) text_field: String,
    /// Number of sequences; without it, as many as the text gives.
    #[serde(default)]
    pub(super) sequences: Option<usize>,
    /// Tokens per sequence, BOS included; needed unless packing is `documents`.
    #[serde(default)]
    pub(super) sequence_tokens: Option<usize>,
    /// `documents`, `packed` or `random`; default: `random` with `sequences` and `sequence_tokens`, `packed` with
    /// `sequence_tokens` alone, else `documents`.
    #[serde(default)]
    pub(super) packing: Option<Packing>,
    /// Start every sequence with the tokenizer's BOS token.
    #[serde(default)]
    pub(super) bos: bool,
    /// What `packed` and `random` sequences have between documents: a string, with which documents are joined before they
    /// are tokenised. An empty one joins the tokens of documents, each tokenised by itself. Default: a blank line
    /// (`"\n\n"`), or nothing with `eos: true`.
    #[serde(default)]
    pub(super) separator: Option<String>,
    /// End every document with the model's EOS token; each is tokenised by itself.
    #[serde(default)]
    pub(super) eos: bool,
}

fn text_field() -> String {
    "text".to_owned()
}

impl Params {
    pub(super) fn packing(&self) -> Packing {
        self.packing.unwrap_or(match (self.sequences, self.sequence_tokens) {
            (Some(_), Some(_)) => Packing::Random,
            (None, Some(_)) => Packing::Packed,
            _ => Packing::Documents,
        })
    }

    /// The string that joins documents before they are tokenised; none if each is tokenised by itself.
    pub(super) fn joined(&self) -> Option<&str> {
        let alone = self.eos || self.packing() == Packing::Documents;
        let separator = self.separator.as_deref().unwrap_or(SEPARATOR);
        (!alone && !separator.is_empty()).then_some(separator)
    }

    pub(super) fn check(&self) -> Result<()> {
        let documents = self.packing() == Packing::Documents;
        bail_if(!documents && self.sequence_tokens.is_none(), || {
            Fault::config("`packed` and `random` sequences need `sequence_tokens`")
        })?;
        bail_if(self.sequence_tokens.is_some_and(|t| t < 2) || self.sequences == Some(0), || {
            Fault::config("`sequences` must be at least 1 and `sequence_tokens` at least 2")
        })?;
        bail_if(self.packing() == Packing::Random && self.sequences.is_none(), || {
            Fault::config("`random` sequences need `sequences`")
        })?;
        let separates = self.separator.as_ref().is_some_and(|s| !s.is_empty());
        bail_if(separates && documents, || {
            Fault::config("`separator` joins documents, and with `packing: documents` each is a sequence of its own")
                .help("leave it out, or set `packing: packed` or `random`")
        })?;
        bail_if(separates && self.eos, || {
            Fault::config("`separator` and `eos: true` are two ways to part documents").help("leave one of them out")
        })
    }
}
