//! What a run will take, told before it runs, and the sizes that such a forecast is made of.

use oops_core::{ModelDims, Site};

use crate::TokensFacts;

/// What one run of a stage takes, as far as it follows from parameters and facts; `None` means "not known before".
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Needs {
    /// Whether it keeps all cores busy for long: a second one beside it would only slow both.
    pub heavy: bool,
    /// Most memory that the stage holds at once, in bytes, without what the program holds anyway.
    pub memory_bytes: Option<u64>,
    /// Most disk that checkpoints and results take at once, in bytes.
    pub disk_bytes: Option<u64>,
    /// Floating-point operations, about. Seconds follow from earlier runs, so only the ratio of two runs of a stage counts.
    pub work: Option<f64>,
}

impl Needs {
    /// A stage that keeps all cores busy and of which nothing else is known.
    pub const HEAVY: Self = Self { heavy: true, memory_bytes: None, disk_bytes: None, work: None };
}

/// Sizes of a model that forecasts are made of.
#[derive(Clone, Copy, Debug)]
pub struct Sizes<'a>(pub &'a ModelDims);

impl Sizes<'_> {
    /// Bytes of one f32 per weight of the largest block.
    pub fn block(self) -> u64 {
        4 * (0..self.0.blocks.len()).map(|l| self.0.block_params(l)).max().unwrap_or(0)
    }

    /// Bytes of the embedding (or the head) in f32.
    pub fn embedding(self) -> u64 {
        4 * (self.0.vocab * self.0.hidden) as u64
    }

    /// Bytes of every weight at `bytes_per_weight`, norms left out.
    pub fn checkpoint(self, bytes_per_weight: u64) -> u64 {
        let heads = if self.0.tied { 1 } else { 2 };
        bytes_per_weight * (self.0.decoder_params() + heads * self.embedding() / 4)
    }

    /// Bytes of the residual stream of `tokens` tokens.
    pub fn stream(self, tokens: u64) -> u64 {
        4 * tokens * self.0.hidden as u64
    }

    /// Bytes of the activations inside the widest block while `rows` tokens go through it: normed input, queries, keys
    /// and values, attention's output, both FFN branches and the output.
    pub fn inner(self, rows: u64) -> u64 {
        let wide = |b: &oops_core::BlockDims| 2 * b.width(Site::AttnOut) + 2 * b.kv_heads * b.head_dim + 2 * b.ffn;
        4 * rows * (3 * self.0.hidden + self.0.blocks.iter().map(wide).max().unwrap_or(0)) as u64
    }

    /// Channels of the widest site.
    pub fn widest(self) -> u64 {
        let widths = self.0.blocks.iter().flat_map(|b| Site::ALL.map(|s| b.width(s)));
        widths.max().unwrap_or(0) as u64
    }

    /// Σ over sites of n² of the block where that is largest: f32 Gram matrices of one block take four times this. Widths
    /// come from files: what no machine holds is `u64::MAX`, not a small number.
    pub fn squares(self) -> u64 {
        let square = |n: usize| (n as u64).saturating_mul(n as u64);
        let of =
            |b: &oops_core::BlockDims| Site::ALL.iter().fold(0, |sum: u64, &s| sum.saturating_add(square(b.width(s))));
        self.0.blocks.iter().map(of).max().unwrap_or(0)
    }

    /// Floating-point operations of one pass of the tokens through all blocks: per token 2 per linear weight, and causal
    /// attention 4·n_q·d_h per pair of tokens.
    pub fn forward(self, tokens: TokensFacts) -> f64 {
        let length = tokens.sequence_tokens as f64;
        let pairs = tokens.sequences as f64 * length * (length + 1.0) / 2.0;
        let attention: usize = self.0.blocks.iter().map(|b| b.width(Site::AttnOut)).sum();
        2.0 * self.0.decoder_params() as f64 * tokens.count() as f64 + 4.0 * attention as f64 * pairs
    }
}

#[cfg(test)]
mod tests {
    use oops_core::BlockDims;

    use super::*;

    #[test]
    fn sizes_of_a_tiny_model_are_as_by_hand() {
        let block = BlockDims { query_heads: 2, kv_heads: 1, head_dim: 2, ffn: 3 };
        let dims = ModelDims { hidden: 4, vocab: 8, tied: false, gated: true, blocks: vec![block; 2] };
        let sizes = Sizes(&dims);
        // Weights of a block: q 16 + k 8 + v 8 + o 16 + 3·12 = 84.
        assert_eq!((sizes.block(), sizes.embedding(), sizes.checkpoint(2)), (336, 128, 2 * (168 + 64)));
        assert_eq!((sizes.widest(), sizes.squares(), sizes.stream(5)), (4, 16 + 9, 80));
        assert_eq!(sizes.inner(1), 4 * (12 + 8 + 4 + 6));
        let absurd = ModelDims { blocks: vec![BlockDims { ffn: usize::MAX / 2, ..block }], ..dims.clone() };
        assert_eq!(Sizes(&absurd).squares(), u64::MAX);
        // Two sequences of two tokens: 3 pairs each.
        let tokens = TokensFacts { sequences: 2, sequence_tokens: 2 };
        assert!((sizes.forward(tokens) - (2.0 * 168.0 * 4.0 + 4.0 * 8.0 * 6.0)).abs() < 1e-9);
    }
}
