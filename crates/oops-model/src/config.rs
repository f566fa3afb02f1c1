//! What a checkpoint says about its decoder: shape, family, position encoding, special tokens, stored precision.

use std::f64::consts::TAU;

use oops_core::{Fault, ModelDims, Result, bail_if};
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
    /// YaRN (Peng et al. 2023, arXiv 2309.00071): pairs that turn more than `beta_fast` times in the original context are
    /// kept, those that turn less than `beta_slow` times are divided by `factor`, those between are blended by their index.
    Yarn {
        /// Stretch of the slow pairs.
        factor: f64,
        /// Context length before stretching, in tokens.
        original_max_position: usize,
        /// Turns above which a pair is kept.
        beta_fast: f64,
        /// Turns below which a pair is stretched by all of `factor`.
        beta_slow: f64,
        /// Whether the indices between which pairs are blended are rounded outward.
        truncate: bool,
        /// Multiplies turned queries and keys.
        attention_factor: f64,
    },
    /// Dynamic NTK: as trained up to `original_max_position` tokens. Beyond, frequencies would depend on the length of each
    /// text, which is not supported ([`Rope::check_length`]).
    Dynamic {
        /// Stretch beyond the original context.
        factor: f64,
        /// Context length before stretching, in tokens.
        original_max_position: usize,
    },
    /// Each frequency divided by its own number, as files state them that say no more.
    Divisors {
        /// One divisor for each channel pair.
        divisors: Vec<f32>,
        /// Multiplies turned queries and keys.
        attention_factor: f64,
    },
}

impl Rope {
    /// Angle per position of each channel pair, `[head_dim/2]`, in radians.
    pub fn frequencies(&self, head_dim: usize) -> Vec<f64> {
        let plain = |i: usize| self.theta.powf(-2.0 * i as f64 / head_dim as f64);
        let plain = (0..head_dim / 2).map(plain);
        match &self.scaling {
            RopeScaling::Divisors { divisors, .. } => plain.zip(divisors).map(|(f, d)| f / f64::from(*d)).collect(),
            RopeScaling::Yarn { factor, .. } => {
                let stretched = |(i, f): (usize, f64)| {
                    let ramp = self.yarn_ramp(i, head_dim);
                    f / factor * ramp + f * (1.0 - ramp)
                };
                plain.enumerate().map(stretched).collect()
            }
            other => plain.map(|f| other.stretch(f)).collect(),
        }
    }

    /// What cosines and sines are multiplied by, so that scores are multiplied by its square.
    pub fn attention_factor(&self) -> f64 {
        match self.scaling {
            RopeScaling::Yarn { attention_factor, .. } | RopeScaling::Divisors { attention_factor, .. } => {
                attention_factor
            }
            _ => 1.0,
        }
    }

    /// Refuses texts of `tokens` tokens where the frequencies would depend on their length.
    pub fn check_length(&self, tokens: usize) -> Result<()> {
        let RopeScaling::Dynamic { original_max_position, .. } = self.scaling else { return Ok(()) };
        bail_if(tokens > original_max_position, || {
            Fault::data(format!("{tokens} tokens; dynamic rotary scaling is supported up to {original_max_position}"))
                .help("with `rope_type` dynamic, frequencies change beyond `max_position_embeddings`: use shorter sequences")
        })
    }

    /// How far pair `i` is stretched by YaRN: 0 = kept, 1 = divided by the whole factor.
    fn yarn_ramp(&self, i: usize, head_dim: usize) -> f64 {
        let RopeScaling::Yarn { original_max_position, beta_fast, beta_slow, truncate, .. } = self.scaling else {
            return 0.0;
        };
        let index = |turns: f64| {
            let waves = original_max_position as f64 / (turns * TAU);
            head_dim as f64 * waves.ln() / (2.0 * self.theta.ln())
        };
        let (low, high) = (index(beta_fast), index(beta_slow));
        let (low, high) = if truncate { (low.floor(), high.ceil()) } else { (low, high) };
        let (low, high) = (low.max(0.0), high.min(head_dim as f64 - 1.0));
        let width = if (high - low).abs() > 0.0 { high - low } else { 0.001 };
        ((i as f64 - low) / width).clamp(0.0, 1.0)
    }
}

impl RopeScaling {
    /// Frequency after scaling that needs to know no more than the frequency.
    fn stretch(&self, frequency: f64) -> f64 {
        match *self {
            Self::Linear { factor } => frequency / factor,
            Self::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position } => {
                let turns = original_max_position as f64 * frequency / TAU;
                let kept = ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
                (1.0 - kept) * frequency / factor + kept * frequency
            }
            Self::None | Self::Dynamic { .. } | Self::Yarn { .. } | Self::Divisors { .. } => frequency,
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
        let per_turns = |turns: f64| turns * TAU / 8192.0;
        assert_eq!(scaling.stretch(1.0), 1.0);
        assert_eq!(scaling.stretch(per_turns(0.5)), per_turns(0.5) / 8.0);
        let middle = per_turns(2.5);
        assert!((scaling.stretch(middle) - middle * (0.5 / 8.0 + 0.5)).abs() < 1e-12);
    }

    #[test]
    fn divisors_divide_and_their_factor_is_told() {
        let scaling = RopeScaling::Divisors { divisors: vec![1.0, 4.0], attention_factor: 1.5 };
        let rope = Rope { theta: 100.0, scaling };
        assert_eq!((rope.frequencies(4), rope.attention_factor()), (vec![1.0, 0.025], 1.5));
    }

    #[test]
    fn yarn_keeps_fast_pairs_stretches_slow_ones_and_blends_between() {
        let scaling = RopeScaling::Yarn {
            factor: 4.0,
            original_max_position: 4096,
            beta_fast: 32.0,
            beta_slow: 1.0,
            truncate: true,
            attention_factor: 1.1,
        };
        let rope = Rope { theta: 10_000.0, scaling };
        let plain = Rope { scaling: RopeScaling::None, ..rope.clone() }.frequencies(128);
        // d·ln(4096 / (32·2π)) / (2·ln θ) = 20.9 and d·ln(4096 / 2π) / (2·ln θ) = 45.03: blended from 20 to 46.
        for (i, (stretched, plain)) in rope.frequencies(128).into_iter().zip(plain).enumerate() {
            let ramp = ((i as f64 - 20.0) / 26.0).clamp(0.0, 1.0);
            assert!((stretched / plain - (1.0 - 0.75 * ramp)).abs() < 1e-12, "{i}");
        }
    }

    #[test]
    fn dynamic_scaling_is_as_trained_within_its_context_and_refused_beyond() {
        let scaling = RopeScaling::Dynamic { factor: 2.0, original_max_position: 16 };
        let rope = Rope { theta: 100.0, scaling };
        assert_eq!(rope.frequencies(4), [1.0, 0.1]);
        assert!(rope.check_length(16).is_ok() && rope.check_length(17).is_err());
    }
}
