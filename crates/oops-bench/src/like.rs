//! Shapes of published models. Source: the `config.json` of each on Hugging Face.

use oops_core::{BlockDims, ModelDims};
use oops_model::{DType, Family, ModelConfig, Rope, RopeScaling};

/// A published model's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Like {
    /// HuggingFaceTB/SmolLM2-135M.
    SmolLm2135m,
    /// meta-llama/Llama-2-7b-hf.
    Llama27b,
    /// meta-llama/Llama-2-13b-hf.
    Llama213b,
    /// meta-llama/Llama-2-70b-hf.
    Llama270b,
    /// meta-llama/Llama-3.1-8B.
    Llama318b,
}

/// Width of the residual stream, vocabulary, blocks, query heads, KV heads, FFN channels.
struct Shape(usize, usize, usize, usize, usize, usize);

impl Like {
    /// All shapes.
    pub const ALL: [Self; 5] = [Self::SmolLm2135m, Self::Llama27b, Self::Llama213b, Self::Llama270b, Self::Llama318b];

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::SmolLm2135m => "smollm2-135m",
            Self::Llama27b => "llama-2-7b",
            Self::Llama213b => "llama-2-13b",
            Self::Llama270b => "llama-2-70b",
            Self::Llama318b => "llama-3.1-8b",
        }
    }

    fn shape(self) -> Shape {
        match self {
            Self::SmolLm2135m => Shape(576, 49_152, 30, 9, 3, 1536),
            Self::Llama27b => Shape(4096, 32_000, 32, 32, 32, 11_008),
            Self::Llama213b => Shape(5120, 32_000, 40, 40, 40, 13_824),
            Self::Llama270b => Shape(8192, 32_000, 80, 64, 8, 28_672),
            Self::Llama318b => Shape(4096, 128_256, 32, 32, 8, 14_336),
        }
    }

    /// The configuration with `blocks` blocks (all without), stored as `dtype`.
    pub fn config(self, blocks: Option<usize>, dtype: DType) -> ModelConfig {
        let Shape(hidden, vocab, all, query_heads, kv_heads, ffn) = self.shape();
        let block = BlockDims { query_heads, kv_heads, head_dim: hidden / query_heads, ffn };
        let tied = self == Self::SmolLm2135m;
        let blocks = vec![block; blocks.unwrap_or(all)];
        ModelConfig {
            family: Family::Llama,
            dims: ModelDims { hidden, vocab, tied, gated: true, blocks },
            norm_eps: 1e-5,
            rope: Rope { theta: 10_000.0, scaling: RopeScaling::None },
            max_position: 4096,
            sliding_window: None,
            bos: None,
            eos: Vec::new(),
            dtype,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_have_the_published_numbers_of_parameters() {
        let billions = |like: Like| {
            let dims = like.config(None, DType::F32).dims;
            let outer = if dims.tied { 1 } else { 2 } * dims.vocab * dims.hidden;
            (dims.decoder_params() + outer as u64) as f64 / 1e9
        };
        let published = [0.1345, 6.738, 13.016, 68.98, 8.03];
        for (like, expected) in Like::ALL.into_iter().zip(published) {
            assert!((billions(like) / expected - 1.0).abs() < 1e-3, "{}: {}", like.name(), billions(like));
        }
    }
}
