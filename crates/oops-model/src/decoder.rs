//! The forward pass, block by block.

use candle_core::Tensor;
use oops_core::{Fault, Result, Site};

use crate::{Block, ModelConfig};

/// What a forward pass needs besides weights: configuration and rotary tables.
pub struct Decoder {
    config: ModelConfig,
}

impl Decoder {
    /// Prepares sequences of up to `max_tokens` tokens.
    pub fn new(config: &ModelConfig, _max_tokens: usize) -> Result<Self> {
        Ok(Self { config: config.clone() })
    }

    /// Rows of `embedding` for `ids`, `[ids, hidden]`.
    pub fn embed(&self, _embedding: &Tensor, _ids: &[u32]) -> Result<Tensor> {
        Err(Fault::internal("interface only"))
    }

    /// One block over packed sequences.
    ///
    /// `x` is `[N, hidden]`: sequences of `lengths` tokens one after the other (Σ lengths = N); attention is causal
    /// within each, positions start at 0 in each. `tap` sees the input of o_proj `[N, query_heads·head_dim]`, then
    /// that of down_proj `[N, ffn]`.
    pub fn block(
        &self,
        _block: &Block,
        _x: &Tensor,
        _lengths: &[usize],
        _tap: &mut dyn FnMut(Site, &Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        Err(Fault::internal(format!("interface only {:?}", self.config.family)))
    }

    /// Logits of hidden states `x` `[N, hidden]`: `[N, vocab]`.
    pub fn logits(&self, _final_norm: &Tensor, _head: &Tensor, _x: &Tensor) -> Result<Tensor> {
        Err(Fault::internal("interface only"))
    }
}

/// Cross-entropy of each row of `logits` `[N, vocab]` against `targets` `[N]`, in nats.
pub fn cross_entropy(_logits: &Tensor, _targets: &[u32]) -> Result<Vec<f64>> {
    Err(Fault::internal("interface only"))
}
