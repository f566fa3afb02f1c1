//! The forward pass in tensor operations that exist on every device and that all have gradients.

use candle_core::{D, Result as Candle, Tensor};
use oops_core::{Result, Site};

use super::{Decoder, Tap};
use crate::{Block, Linear, kernels::AttentionShape, lift::Lift};

/// See [`Decoder::block`].
pub(super) fn block(d: &Decoder, b: &Block, x: &Tensor, lengths: &[usize], tap: &mut Tap<'_>) -> Result<Tensor> {
    let mixed = mix(d, b, &rms_norm(x, &b.input_norm, d.norm_eps).lift()?, lengths).lift()?;
    tap(Site::AttnOut, &mixed)?;
    let y = (linear(&mixed, &b.o).lift()? + x).lift()?;
    let h = rms_norm(&y, &b.ffn_norm, d.norm_eps).lift()?;
    let gate = linear(&h, &b.gate).and_then(|g| g.silu()).lift()?;
    let inner = (gate * linear(&h, &b.up).lift()?).lift()?;
    tap(Site::MlpDown, &inner)?;
    (linear(&inner, &b.down).lift()? + y).lift()
}

/// RMSNorm over the last dimension.
pub(super) fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Candle<Tensor> {
    let scale = (x.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?;
    x.broadcast_div(&scale)?.broadcast_mul(weight)
}

fn linear(x: &Tensor, layer: &Linear) -> Candle<Tensor> {
    let y = x.matmul(&layer.weight.t()?)?;
    layer.bias.iter().try_fold(y, |y, bias| y.broadcast_add(bias))
}

/// Attention over normalised states `h`, before o_proj: one sequence after the other.
fn mix(d: &Decoder, b: &Block, h: &Tensor, lengths: &[usize]) -> Candle<Tensor> {
    let shape = AttentionShape {
        query_heads: b.dims.query_heads,
        kv_heads: b.dims.kv_heads,
        head_dim: b.dims.head_dim,
        window: d.window,
    };
    if shape.kv_heads == 0 {
        return Tensor::zeros((h.dim(0)?, 0), h.dtype(), h.device());
    }
    let (q, k, v) = (linear(h, &b.q)?, linear(h, &b.k)?, linear(h, &b.v)?);
    let mut start = 0;
    let mut mixed = Vec::with_capacity(lengths.len());
    for &length in lengths.iter().filter(|&&n| n > 0) {
        let heads = |x: &Tensor, n: usize| {
            x.narrow(0, start, length)?.reshape((length, n, shape.head_dim))?.transpose(0, 1)?.contiguous()
        };
        let q = rotate(d, &normed(&heads(&q, shape.query_heads)?, b.q_norm.as_ref(), d.norm_eps)?)?;
        let k = rotate(d, &normed(&heads(&k, shape.kv_heads)?, b.k_norm.as_ref(), d.norm_eps)?)?;
        mixed.push(attend(&q, &k, &heads(&v, shape.kv_heads)?, &shape)?);
        start += length;
    }
    Tensor::cat(&mixed, 0)
}

fn normed(heads: &Tensor, weight: Option<&Tensor>, eps: f64) -> Candle<Tensor> {
    weight.map_or_else(|| Ok(heads.clone()), |w| rms_norm(heads, w, eps))
}

/// Half-split rotation of `[heads, T, head_dim]`.
fn rotate(d: &Decoder, x: &Tensor) -> Candle<Tensor> {
    let (_, length, head_dim) = x.dims3()?;
    let (cos, sin) = d.rope.tables(length);
    let table = |t: &[f32]| Tensor::from_slice(t, (length, head_dim / 2), x.device())?.to_dtype(x.dtype());
    let (cos, sin) = (table(cos)?, table(sin)?);
    let (low, high) = (x.narrow(2, 0, head_dim / 2)?, x.narrow(2, head_dim / 2, head_dim / 2)?);
    let turned_low = (low.broadcast_mul(&cos)? - high.broadcast_mul(&sin)?)?;
    let turned_high = (high.broadcast_mul(&cos)? + low.broadcast_mul(&sin)?)?;
    Tensor::cat(&[turned_low, turned_high], 2)
}

/// Causal attention of one sequence: `q` `[heads, T, d]`, `k` and `v` `[kv_heads, T, d]`; gives `[T, heads·d]`.
fn attend(q: &Tensor, k: &Tensor, v: &Tensor, shape: &AttentionShape) -> Candle<Tensor> {
    let (heads, length, head_dim) = q.dims3()?;
    let group = heads / shape.kv_heads;
    let stacked = q.reshape((shape.kv_heads, group * length, head_dim))?;
    let scores = (stacked.matmul(&k.t()?.contiguous()?)? / (head_dim as f64).sqrt())?;
    let scores = scores.reshape((heads, length, length))?.broadcast_add(&mask(length, shape, q)?)?;
    let weights = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?.exp()?;
    let weights = weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?;
    let mixed = weights.reshape((shape.kv_heads, group * length, length))?.matmul(v)?;
    mixed.reshape((heads, length, head_dim))?.transpose(0, 1)?.reshape((length, heads * head_dim))
}

/// `[T, T]`: 0 where a key is visible, −∞ elsewhere.
fn mask(length: usize, shape: &AttentionShape, like: &Tensor) -> Candle<Tensor> {
    let visible = |t: usize, j: usize| j <= t && j >= shape.first_key(t);
    let entry = |i: usize| if visible(i / length, i % length) { 0.0 } else { f32::NEG_INFINITY };
    let mask = Tensor::from_iter((0..length * length).map(entry), like.device())?;
    mask.reshape((length, length))?.to_dtype(like.dtype())
}
