//! The decoder as differentiable tensor operations, for training, distillation and gradient statistics.
//!
//! Same mathematics as [`crate::Decoder`] (a test compares them), on batches `[B, T, hidden]` of sequences of one length
//! in host memory, with fused backward kernels: a third of the time of separate tensor operations. Any weight of a
//! [`Block`] may be a `candle_core::Var`. Results do not depend on the number of threads.

mod ops;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use candle_core::{CustomOp1, CustomOp2, Tensor};
use oops_core::{Fault, Result, Site, bail_if};

use crate::{
    Block, Linear, ModelConfig,
    kernels::{AttentionShape, RopeTable},
    lift::Lift,
};
use ops::{CrossEntropy, MaskedSoftmax, RmsNorm, Rotate, SwiGlu};

/// One block on `x` `[B, T, hidden]`: causal attention and FFN with their residuals, `[B, T, hidden]`.
pub fn block_forward(config: &ModelConfig, block: &Block, x: &Tensor) -> Result<Tensor> {
    block_forward_tapped(config, block, x, &mut |_, t| Ok(t))
}

/// [`block_forward`] with the input of o_proj `[B, T, query_heads·head_dim]`, then that of down_proj `[B, T, ffn]`,
/// passed through `tap`; what it returns takes the input's place, so it can mask, perturb or watch.
pub fn block_forward_tapped(
    config: &ModelConfig,
    block: &Block,
    x: &Tensor,
    tap: &mut dyn FnMut(Site, Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let normed = norm(x, &block.input_norm, config.norm_eps)?;
    let mixed = tap(Site::AttnOut, attention(config, block, &normed)?)?;
    let x = x.add(&linear(&block.o, &mixed)?).lift()?;
    let normed = norm(&x, &block.ffn_norm, config.norm_eps)?;
    let inner = binary(&linear(&block.gate, &normed)?, &linear(&block.up, &normed)?, SwiGlu)?;
    let inner = tap(Site::MlpDown, inner)?;
    x.add(&linear(&block.down, &inner)?).lift()
}

/// Rows of `embedding` `[vocab, hidden]` for `ids` (B·T of them, each below vocab), `[B, T, hidden]`.
pub fn embed(embedding: &Tensor, ids: &[u32], tokens: usize) -> Result<Tensor> {
    bail_if(tokens == 0 || !ids.len().is_multiple_of(tokens), || {
        Fault::internal(format!("{} token ids are not sequences of {tokens}", ids.len()))
    })?;
    let rows = Tensor::new(ids, embedding.device()).and_then(|ids| embedding.index_select(&ids, 0));
    rows.and_then(|rows| rows.reshape((ids.len() / tokens, tokens, ()))).lift()
}

/// Logits of hidden states `x` `[B, T, hidden]`: `[B·T, vocab]`.
pub fn logits(config: &ModelConfig, final_norm: &Tensor, head: &Tensor, x: &Tensor) -> Result<Tensor> {
    let normed = norm(x, final_norm, config.norm_eps)?;
    let head = Linear { weight: head.clone(), bias: None };
    linear(&head, &normed)?.flatten_to(1).lift()
}

/// Mean cross-entropy of `logits` `[N, vocab]` against `targets` `[N]`, in nats: a scalar.
pub fn loss(logits: &Tensor, targets: &[u32]) -> Result<Tensor> {
    let (rows, vocab) = logits.dims2().lift()?;
    let wrong = targets.len() != rows || targets.iter().any(|&t| t as usize >= vocab);
    bail_if(wrong, || Fault::internal(format!("{} targets for logits of {rows} × {vocab}", targets.len())))?;
    unary(logits, CrossEntropy { targets: targets.to_vec() })
}

fn unary(x: &Tensor, op: impl CustomOp1 + 'static + Send + Sync) -> Result<Tensor> {
    x.contiguous().and_then(|x| x.apply_op1(op)).lift()
}

fn binary(a: &Tensor, b: &Tensor, op: impl CustomOp2 + 'static + Send + Sync) -> Result<Tensor> {
    a.contiguous().and_then(|a| a.apply_op2(&b.contiguous()?, op)).lift()
}

fn norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    binary(x, weight, RmsNorm { eps })
}

/// x·Wᵀ + b over the last dimension.
fn linear(layer: &Linear, x: &Tensor) -> Result<Tensor> {
    let apply = || {
        let (b, t, inputs) = x.dims3()?;
        let outputs = layer.weight.dim(0)?;
        // A site without channels left contributes its bias alone, and a product over 0 columns is not a GEMM.
        let y = match inputs {
            0 => Tensor::zeros((b, t, outputs), x.dtype(), x.device())?,
            _ => x.reshape((b * t, inputs))?.matmul(&layer.weight.t()?)?.reshape((b, t, outputs))?,
        };
        layer.bias.as_ref().map_or(Ok(y.clone()), |bias| y.broadcast_add(bias))
    };
    apply().lift()
}

/// softmax(q·kᵀ/√d_h)·v of the normalised input `[B, T, hidden]`: `[B, T, query_heads·head_dim]`.
fn attention(config: &ModelConfig, block: &Block, x: &Tensor) -> Result<Tensor> {
    let d = block.dims;
    let (batch, tokens, _) = x.dims3().lift()?;
    if d.query_heads == 0 {
        return Tensor::zeros((batch, tokens, 0), x.dtype(), x.device()).lift();
    }
    let rotate = rotation(config, d.head_dim, tokens)?;
    let q = rotated(&linear(&block.q, x)?, block.q_norm.as_ref(), d.head_dim, config.norm_eps, &rotate)?;
    let k = rotated(&linear(&block.k, x)?, block.k_norm.as_ref(), d.head_dim, config.norm_eps, &rotate)?;
    let v = linear(&block.v, x)?;
    let shape = AttentionShape {
        query_heads: d.query_heads,
        kv_heads: d.kv_heads,
        head_dim: d.head_dim,
        window: config.sliding_window,
    };
    mix(&q, &k, &v, shape).lift()
}

/// The query heads of a group are stacked along the rows, so that keys and values are never repeated.
fn mix(q: &Tensor, k: &Tensor, v: &Tensor, shape: AttentionShape) -> candle_core::Result<Tensor> {
    let (b, t, width) = q.dims3()?;
    let AttentionShape { query_heads, kv_heads, head_dim, .. } = shape;
    let heads = |x: &Tensor, n: usize| x.reshape((b, t, n, head_dim))?.transpose(1, 2)?.contiguous();
    let stacked = (b * kv_heads, query_heads / kv_heads * t, head_dim);
    let q = heads(q, query_heads)?.reshape(stacked)?;
    let narrow = |x: &Tensor| heads(x, kv_heads)?.reshape((b * kv_heads, t, head_dim));
    let (k, v) = (narrow(k)?, narrow(v)?);
    let scale = 1.0 / (head_dim as f32).sqrt();
    let probs = q.matmul(&k.t()?)?.apply_op1(MaskedSoftmax { scale, shape })?;
    probs.matmul(&v)?.reshape((b, query_heads, t, head_dim))?.transpose(1, 2)?.reshape((b, t, width))
}

fn rotation(config: &ModelConfig, head_dim: usize, tokens: usize) -> Result<Rotate> {
    config.rope.check_length(tokens)?;
    let turn = config.rope.frequencies(head_dim);
    let back: Vec<f64> = turn.iter().map(|f| -f).collect();
    let table = |frequencies: &[f64]| RopeTable::new(frequencies, config.rope.attention_factor(), tokens);
    Ok(Rotate { tables: Arc::new([table(&turn), table(&back)]), tokens })
}

/// Heads of `x` `[B, T, heads·head_dim]`, normalised where the family does that, and turned by their positions.
fn rotated(x: &Tensor, weight: Option<&Tensor>, head_dim: usize, eps: f64, rotate: &Rotate) -> Result<Tensor> {
    let Some(weight) = weight else { return unary(x, rotate.clone()) };
    let heads = x.reshape(((), head_dim)).lift()?;
    unary(&norm(&heads, weight, eps)?.reshape(x.shape()).lift()?, rotate.clone())
}
