//! The forward pass on slices. Tokens are rows throughout: heads are columns, nothing is transposed or repeated.

use candle_core::{Device, Tensor};
use oops_core::{Result, Site};

use super::{Decoder, Tap, flat::flat, operand::Operand};
use crate::{
    Block, Linear,
    kernels::{self, AttentionShape},
    lift::Lift,
};

/// See [`Decoder::block`].
pub(super) fn block(d: &Decoder, b: &Block, x: &Tensor, lengths: &[usize], tap: &mut Tap<'_>) -> Result<Tensor> {
    let (rows, x) = (x.dim(0).lift()?, flat(x)?);
    let mut h = vec![0.0; x.len()];
    kernels::rms_norm(&x, &flat(&b.input_norm)?, d.norm_eps, &mut h);
    let mixed = matrix(mix(d, b, &h, lengths)?, rows, b.dims.width(Site::AttnOut))?;
    tap(Site::AttnOut, &mixed)?;
    let y = Operand::new(d, &flat(&mixed)?, rows).added(&x, &b.o)?;
    drop(mixed);

    kernels::rms_norm(&y, &flat(&b.ffn_norm)?, d.norm_eps, &mut h);
    let inner = Operand::new(d, &h, rows).gated(&b.gate, &b.up)?;
    drop(h);
    let inner = matrix(inner, rows, b.dims.width(Site::MlpDown))?;
    tap(Site::MlpDown, &inner)?;
    let out = Operand::new(d, &flat(&inner)?, rows).added(&y, &b.down)?;
    matrix(out, rows, d.hidden)
}

/// Attention over normalised states `h`, before o_proj.
fn mix(d: &Decoder, b: &Block, h: &[f32], lengths: &[usize]) -> Result<Vec<f32>> {
    let positions: Vec<u32> = lengths.iter().flat_map(|&n| 0..n as u32).collect();
    let h = Operand::new(d, h, positions.len());
    let q = heads(d, h.through(&b.q)?, b.q_norm.as_ref(), &positions)?;
    let k = heads(d, h.through(&b.k)?, b.k_norm.as_ref(), &positions)?;
    let v = h.through(&b.v)?;
    Ok(kernels::attention(&q, &k, &v, lengths, &shape(d, b)))
}

/// Projected queries or keys as attention sees them: normalised where the family does, then turned by their positions.
pub(super) fn heads(d: &Decoder, mut x: Vec<f32>, norm: Option<&Tensor>, positions: &[u32]) -> Result<Vec<f32>> {
    if let Some(weight) = norm {
        x = normed(d, &x, weight)?;
    }
    kernels::rotate(&mut x, positions, &d.rope);
    Ok(x)
}

/// Rows of `x` normalised.
pub(super) fn normed(d: &Decoder, x: &[f32], weight: &Tensor) -> Result<Vec<f32>> {
    let mut out = vec![0.0; x.len()];
    kernels::rms_norm(x, &flat(weight)?, d.norm_eps, &mut out);
    Ok(out)
}

/// What attention needs to know of a block.
pub(super) fn shape(d: &Decoder, b: &Block) -> AttentionShape {
    AttentionShape {
        query_heads: b.dims.query_heads,
        kv_heads: b.dims.kv_heads,
        head_dim: b.dims.head_dim,
        window: d.window,
    }
}

/// x·Wᵀ + b of `rows` rows.
pub(super) fn linear(x: &[f32], rows: usize, layer: &Linear) -> Result<Vec<f32>> {
    let bias = layer.bias.as_ref().map(flat).transpose()?;
    Ok(kernels::linear(x, rows, &flat(&layer.weight)?, bias.as_deref(), layer.weight.dim(0).lift()?))
}

/// Values as a tensor.
pub(super) fn matrix(values: Vec<f32>, rows: usize, width: usize) -> Result<Tensor> {
    Tensor::from_vec(values, (rows, width), &Device::Cpu).lift()
}
