//! Kinds of artifact.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a stage's output is; ports accept kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A checkpoint: Hugging Face files (one shard per block when we wrote it) or one GGUF file.
    Model,
    /// Token sequences.
    Tokens,
    /// Activation statistics: channel tables and Gram matrices.
    Stats,
    /// Mask gradients of every unit.
    Gradients,
    /// One number per unit.
    Scores,
    /// Which units stay.
    Plan,
    /// Measurements of models: one row per model.
    Metrics,
    /// A table for people.
    Report,
    /// A model in the form of another program, with its card.
    Export,
}

impl Kind {
    /// The name used in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Tokens => "tokens",
            Self::Stats => "stats",
            Self::Gradients => "gradients",
            Self::Scores => "scores",
            Self::Plan => "plan",
            Self::Metrics => "metrics",
            Self::Report => "report",
            Self::Export => "export",
        }
    }

    /// Version of the kind's file format; part of every action key, so a new format never meets old bytes.
    pub fn schema_version(self) -> u32 {
        match self {
            // 2: config.json of a model says where the files decide which layers have biases.
            Self::Model | Self::Stats | Self::Tokens | Self::Report => 2,
            _ => 1,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
