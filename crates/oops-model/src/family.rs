//! The families of decoders that we read, one declarative descriptor each.

use serde::{Deserialize, Serialize};

/// A family of LLaMA-shaped decoders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Family {
    /// LLaMA 1–3 and everything with its architecture.
    Llama,
    /// Mistral: LLaMA with a sliding window.
    Mistral,
    /// Qwen2: biases on q, k and v.
    Qwen2,
    /// Qwen3: RMSNorm on each query and key head.
    Qwen3,
}
