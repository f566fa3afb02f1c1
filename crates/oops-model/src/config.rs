//! What a checkpoint says about its decoder: shape, family, position encoding, special tokens, stored precision.

use oops_core::ModelDims;
use serde::{Deserialize, Serialize};

use crate::Family;

/// A decoder's configuration, whatever file it came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// Architecture.
    pub family: Family,
    /// Widths, per block.
    pub dims: ModelDims,
    /// ε of every RMSNorm.
    pub norm_eps: f64,
    /// Rotary position encoding.
    pub rope: Rope,
    /// Longest sequence that the model was made for, in tokens.
    pub max_position: usize,
    /// Keys that a query sees, itself included; `None` = all before it.
    pub sliding_window: Option<usize>,
    /// Beginning-of-sequence token.
    pub bos: Option<u32>,
    /// End-of-sequence tokens.
    pub eos: Vec<u32>,
    /// Precision in which the weights are stored (most of them, when mixed).
    pub dtype: DType,
}

/// Precision of stored weights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DType {
    /// IEEE binary32.
    F32,
    /// IEEE binary16.
    F16,
    /// bfloat16.
    BF16,
    /// A block-quantised format, by its GGUF name (`Q4_1`).
    Quantized(String),
}

/// Rotary position encoding: pair i of a head turns by position · θ^(−2i/d_h), after scaling.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rope {
    /// Base θ.
    pub theta: f64,
    /// How the frequencies are stretched for long contexts.
    pub scaling: RopeScaling,
}

/// Stretching of rotary frequencies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RopeScaling {
    /// As trained.
    None,
    /// All frequencies divided by `factor`.
    Linear {
        /// Divisor.
        factor: f64,
    },
    /// Llama 3.1: wavelengths above `original/low_freq_factor` are stretched by `factor`, those below
    /// `original/high_freq_factor` are kept, those between are blended.
    Llama3 {
        /// Stretch of the long wavelengths.
        factor: f64,
        /// Sets where stretching is complete.
        low_freq_factor: f64,
        /// Sets where stretching begins.
        high_freq_factor: f64,
        /// Context length before stretching, in tokens.
        original_max_position: usize,
    },
}
