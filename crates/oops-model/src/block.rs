//! The weights of one decoder block.

use candle_core::Tensor;
use oops_core::BlockDims;

/// A linear layer: y = x·Wᵀ + b.
#[derive(Clone, Debug)]
pub struct Linear {
    /// W, `[out, in]`, f32.
    pub weight: Tensor,
    /// b, `[out]`, f32.
    pub bias: Option<Tensor>,
}

/// One decoder block: y = x + o(attention(norm x)), then y + down(silu(gate(norm y)) ⊙ up(norm y)).
#[derive(Clone, Debug)]
pub struct Block {
    /// Widths.
    pub dims: BlockDims,
    /// Weight of the RMSNorm before attention, `[hidden]`.
    pub input_norm: Tensor,
    /// Query projection, `[query_heads·head_dim, hidden]`; each head in half-split RoPE order.
    pub q: Linear,
    /// Key projection, `[kv_heads·head_dim, hidden]`; each head in half-split RoPE order.
    pub k: Linear,
    /// Value projection, `[kv_heads·head_dim, hidden]`.
    pub v: Linear,
    /// Output projection, `[hidden, query_heads·head_dim]`; its input is the site `attn.out`.
    pub o: Linear,
    /// RMSNorm weight of every query head, `[head_dim]`, where the family has one.
    pub q_norm: Option<Tensor>,
    /// RMSNorm weight of every key head, `[head_dim]`, where the family has one.
    pub k_norm: Option<Tensor>,
    /// Weight of the RMSNorm before the FFN, `[hidden]`.
    pub ffn_norm: Tensor,
    /// Gate projection, `[ffn, hidden]`.
    pub gate: Linear,
    /// Up projection, `[ffn, hidden]`.
    pub up: Linear,
    /// Down projection, `[hidden, ffn]`; its input is the site `mlp.down`.
    pub down: Linear,
}
