//! What is known of an artifact before it exists.

use std::collections::BTreeMap;

use oops_core::ModelDims;

/// Facts about one artifact; `None` means "not known before it runs".
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Dimensions of a model, or of the model that statistics, scores or a plan belong to.
    pub model: Option<ModelDims>,
    /// Shape of a token set.
    pub tokens: Option<TokensFacts>,
    /// Whether statistics hold Gram matrices.
    pub gram: Option<bool>,
}

/// Shape of a token set.
#[derive(Clone, Copy, Debug)]
pub struct TokensFacts {
    /// Number of sequences.
    pub sequences: usize,
    /// Tokens of each.
    pub sequence_tokens: usize,
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
