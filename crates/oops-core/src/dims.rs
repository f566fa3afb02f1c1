//! What a decoder measures: per-block widths, and the parameters that they imply.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::UnitKind;

/// A linear site: the input of a projection whose columns can be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Site {
    /// Input of `o_proj`: the attention heads' outputs side by side.
    #[serde(rename = "attn.out")]
    AttnOut,
    /// Input of `down_proj`: the FFN's inner activations.
    #[serde(rename = "mlp.down")]
    MlpDown,
}

impl Site {
    /// Both sites, in the order in which a block computes them.
    pub const ALL: [Self; 2] = [Self::AttnOut, Self::MlpDown];

    /// The name used in files and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::AttnOut => "attn.out",
            Self::MlpDown => "mlp.down",
        }
    }

    /// The site with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.name() == name)
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Widths of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BlockDims {
    /// Query heads.
    pub query_heads: usize,
    /// Key/value heads; divides `query_heads`.
    pub kv_heads: usize,
    /// Channels per head.
    pub head_dim: usize,
    /// FFN channels.
    pub ffn: usize,
}

impl BlockDims {
    /// Query heads per KV head (G); 0 for a block without attention.
    pub fn group_size(&self) -> usize {
        self.query_heads.checked_div(self.kv_heads).unwrap_or(0)
    }

    /// Channels of a site.
    pub fn width(&self, site: Site) -> usize {
        match site {
            Site::AttnOut => self.query_heads * self.head_dim,
            Site::MlpDown => self.ffn,
        }
    }
}

/// What a decoder measures as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelDims {
    /// Width of the residual stream (d).
    pub hidden: usize,
    /// Rows of the embedding.
    pub vocab: usize,
    /// Whether the head shares the embedding's weights.
    pub tied: bool,
    /// Whether the FFN has a gate projection (three matrices instead of two).
    pub gated: bool,
    /// Widths, block by block.
    pub blocks: Vec<BlockDims>,
}

impl ModelDims {
    /// Weights that a unit takes with it when it goes from `block`.
    ///
    /// FFN channel: 3d (2d without a gate). KV group: (2G+2)·d·d_h. Query head: 2·d·d_h. Biases are not counted.
    pub fn unit_cost(&self, block: usize, kind: UnitKind) -> u64 {
        let b = &self.blocks[block];
        let d = self.hidden as u64;
        match kind {
            UnitKind::FfnChannel => d * if self.gated { 3 } else { 2 },
            UnitKind::KvGroup => (2 * b.group_size() as u64 + 2) * d * b.head_dim as u64,
            UnitKind::QueryHead => 2 * d * b.head_dim as u64,
        }
    }

    /// Weights of the linear layers of one block.
    pub fn block_params(&self, block: usize) -> u64 {
        let b = &self.blocks[block];
        b.kv_heads as u64 * self.unit_cost(block, UnitKind::KvGroup)
            + b.ffn as u64 * self.unit_cost(block, UnitKind::FfnChannel)
    }

    /// Weights of the linear layers of all blocks: what `remove_fraction` is a fraction of.
    pub fn decoder_params(&self) -> u64 {
        (0..self.blocks.len()).map(|l| self.block_params(l)).sum()
    }

    /// Bytes of KV cache per token at `bytes_per_value`.
    pub fn kv_bytes_per_token(&self, bytes_per_value: u64) -> u64 {
        self.blocks.iter().map(|b| 2 * (b.kv_heads * b.head_dim) as u64 * bytes_per_value).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smollm2_costs_match_the_published_shape() {
        let block = BlockDims { query_heads: 9, kv_heads: 3, head_dim: 64, ffn: 1536 };
        let m = ModelDims { hidden: 576, vocab: 49152, tied: true, gated: true, blocks: vec![block; 30] };
        assert_eq!(m.unit_cost(0, UnitKind::KvGroup), 294_912);
        assert_eq!(m.block_params(0), 3_538_944);
        assert_eq!(m.decoder_params(), 106_168_320);
        assert_eq!(m.kv_bytes_per_token(2), 30 * 2 * 3 * 64 * 2);
    }
}
