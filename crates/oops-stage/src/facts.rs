//! What is known of an artifact before it exists.

use std::collections::BTreeMap;

use oops_core::ModelDims;

/// Facts about one artifact; `None` means "not known before it runs".
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Dimensions of a model, or of the model that statistics, scores or a plan belong to.
    pub model: Option<ModelDims>,
    /// Dimensions that a model of unknown ones does not exceed: those of the model that it is cut from.
    pub at_most: Option<ModelDims>,
    /// Shape of a token set.
    pub tokens: Option<TokensFacts>,
    /// Whether statistics hold Gram matrices: of activations, or those of gradients that curvature is made of.
    pub gram: Option<bool>,
    /// What a model is beside its dimensions; what is cut from it or trained is the same.
    pub form: Option<Form>,
    /// Whether a plan, or the model that it makes, is sure to have the same widths in every block.
    pub same_widths: Option<bool>,
    /// What the user should know although the stage can run ([`crate::Cx::warn`] before anything ran). They belong to this
    /// stage alone: a stage that passes its input's facts on must not repeat them.
    pub warnings: Vec<String>,
}

/// What programs that load a model ask beside its dimensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// Whether queries and keys are normalised head by head.
    pub head_norms: bool,
    /// Whether attention outputs or FFN outputs have biases.
    pub output_biases: bool,
    /// Whether there is a tokenizer.
    pub tokenizer: bool,
    /// Tokens of the longest sequence that it was made for.
    pub context: usize,
    /// What llama.cpp does otherwise than the model with its tokenizer, in sentences; or why no GGUF file can hold them.
    pub gguf_losses: Result<Vec<String>, String>,
}

impl Facts {
    /// Dimensions of the model, or those that it does not exceed.
    pub fn dims_at_most(&self) -> Option<&ModelDims> {
        self.model.as_ref().or(self.at_most.as_ref())
    }
}

/// Shape of a token set.
#[derive(Clone, Copy, Debug)]
pub struct TokensFacts {
    /// Number of sequences.
    pub sequences: usize,
    /// Tokens of each.
    pub sequence_tokens: usize,
}

impl TokensFacts {
    /// Tokens of all sequences.
    pub fn count(self) -> u64 {
        self.sequences as u64 * self.sequence_tokens as u64
    }
}

/// Facts about a stage's inputs, by port, in order.
#[derive(Clone, Debug, Default)]
pub struct PortFacts(pub BTreeMap<String, Vec<Facts>>);

impl PortFacts {
    /// Facts about the (first) artifact of a port; all unknown if the port is open.
    pub fn one(&self, port: &str) -> Facts {
        self.0.get(port).and_then(|f| f.first()).cloned().unwrap_or_default()
    }
}
