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

impl Rope {
    /// Angle per position of each channel pair, `[head_dim/2]`, in radians.
    pub fn frequencies(&self, head_dim: usize) -> Vec<f64> {
        let plain = |i: usize| self.theta.powf(-2.0 * i as f64 / head_dim as f64);
        (0..head_dim / 2).map(|i| self.scaling.stretch(plain(i))).collect()
    }
}

impl RopeScaling {
    fn stretch(&self, frequency: f64) -> f64 {
        match *self {
            Self::None => frequency,
            Self::Linear { factor } => frequency / factor,
            Self::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position } => {
                let turns = original_max_position as f64 * frequency / std::f64::consts::TAU;
                let kept = ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
                (1.0 - kept) * frequency / factor + kept * frequency
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequencies_fall_from_one_and_linear_scaling_divides_them() {
        let rope = Rope { theta: 100.0, scaling: RopeScaling::None };
        assert_eq!(rope.frequencies(4), [1.0, 0.1]);
        let rope = Rope { theta: 100.0, scaling: RopeScaling::Linear { factor: 2.0 } };
        assert_eq!(rope.frequencies(4), [0.5, 0.05]);
    }

    #[test]
    fn llama3_keeps_short_waves_stretches_long_ones_and_blends_between() {
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position: 8192,
        };
        let per_turns = |turns: f64| turns * std::f64::consts::TAU / 8192.0;
        assert_eq!(scaling.stretch(1.0), 1.0);
        assert_eq!(scaling.stretch(per_turns(0.5)), per_turns(0.5) / 8.0);
        let middle = per_turns(2.5);
        assert!((scaling.stretch(middle) - middle * (0.5 / 8.0 + 0.5)).abs() < 1e-12);
    }
}
