//! The decoder's row-wise operations as differentiable tensor operations.
//!
//! Forward and backward run on the same kernels as the streaming decoder; inputs must be contiguous f32 in host memory.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Error, Layout, Result, Shape, Tensor};

use crate::{
    host::with_values,
    kernels::{
        AttentionShape, RopeTable, cross_entropy_grad, masked_softmax, masked_softmax_grad, rms_norm, rms_norm_grad,
        rotate, row_losses, swiglu, swiglu_grad,
    },
};

fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let (start, end) = layout.contiguous_offsets().ok_or_else(|| Error::msg("the operand is not contiguous"))?;
    Ok(&storage.as_slice::<f32>()?[start..end])
}

fn read<T>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> T) -> Result<T> {
    with_values(tensor, f).map_err(|e| Error::msg(e.to_string()))
}

fn like(values: Vec<f32>, tensor: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, tensor.shape(), tensor.device())
}

/// RMSNorm over the last dimension; operands x `[…, n]` and weight `[n]`.
pub(super) struct RmsNorm {
    /// ε.
    pub(super) eps: f64,
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, w: &CpuStorage, wl: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, w) = (slice(x, xl)?, slice(w, wl)?);
        let mut out = vec![0.0; x.len()];
        rms_norm(x, w, self.eps, &mut out);
        Ok((CpuStorage::F32(out), xl.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (dx, dw) = read(x, |x| read(w, |w| read(grad, |g| rms_norm_grad(x, w, g, self.eps))))???;
        Ok((Some(like(dx, x)?), Some(like(dw, w)?)))
    }
}

/// silu(gate) ⊙ up; operands of one shape.
pub(super) struct SwiGlu;

impl CustomOp2 for SwiGlu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(&self, g: &CpuStorage, gl: &Layout, u: &CpuStorage, ul: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut out = slice(g, gl)?.to_vec();
        swiglu(&mut out, slice(u, ul)?);
        Ok((CpuStorage::F32(out), gl.shape().clone()))
    }

    fn bwd(&self, gate: &Tensor, up: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (dgate, dup) = read(gate, |a| read(up, |b| read(grad, |g| swiglu_grad(a, b, g))))???;
        Ok((Some(like(dgate, gate)?), Some(like(dup, up)?)))
    }
}

/// Rotary position encoding of x `[B, T, heads·head_dim]` by the position within T.
#[derive(Clone)]
pub(super) struct Rotate {
    /// Tables of the angles, and of their opposites.
    pub(super) tables: Arc<[RopeTable; 2]>,
    /// Tokens per sequence (T).
    pub(super) tokens: usize,
}

impl Rotate {
    fn turned(&self, x: &[f32], table: &RopeTable, width: usize) -> Vec<f32> {
        let rows = x.len() / width.max(1);
        let positions: Vec<u32> = (0..rows).map(|row| (row % self.tokens) as u32).collect();
        let mut out = x.to_vec();
        rotate(&mut out, &positions, table);
        out
    }
}

impl CustomOp1 for Rotate {
    fn name(&self) -> &'static str {
        "rotate"
    }

    fn cpu_fwd(&self, x: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let width = l.dims().last().copied().unwrap_or(1);
        Ok((CpuStorage::F32(self.turned(slice(x, l)?, &self.tables[0], width)), l.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let width = x.dims().last().copied().unwrap_or(1);
        let dx = read(grad, |g| self.turned(g, &self.tables[1], width))?;
        Ok(Some(like(dx, x)?))
    }
}

/// Softmax of scaled scores `[…, T, T]` over the keys that each query sees; the others get 0.
pub(super) struct MaskedSoftmax {
    /// Factor on the scores, 1/√d_h.
    pub(super) scale: f32,
    /// Which keys a query sees.
    pub(super) shape: AttentionShape,
}

impl CustomOp1 for MaskedSoftmax {
    fn name(&self) -> &'static str {
        "masked-softmax"
    }

    fn cpu_fwd(&self, scores: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut out = slice(scores, l)?.to_vec();
        masked_softmax(&mut out, l.dims().last().copied().unwrap_or(1), self.scale, &self.shape);
        Ok((CpuStorage::F32(out), l.shape().clone()))
    }

    fn bwd(&self, scores: &Tensor, probs: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let tokens = scores.dims().last().copied().unwrap_or(1);
        let mut ds = read(grad, <[f32]>::to_vec)?;
        read(probs, |p| masked_softmax_grad(p, &mut ds, tokens, self.scale, &self.shape))?;
        Ok(Some(like(ds, scores)?))
    }
}

/// Mean cross-entropy of logits `[N, vocab]` against N targets below vocab, in nats: a scalar.
pub(super) struct CrossEntropy {
    /// Targets.
    pub(super) targets: Vec<u32>,
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn cpu_fwd(&self, logits: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let vocab = l.dims().last().copied().unwrap_or(1);
        let losses = row_losses(slice(logits, l)?, vocab, &self.targets);
        let mean = losses.iter().sum::<f64>() / losses.len().max(1) as f64;
        Ok((CpuStorage::F32(vec![mean as f32]), Shape::from(())))
    }

    fn bwd(&self, logits: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let vocab = logits.dims().last().copied().unwrap_or(1);
        let upstream = grad.to_scalar::<f32>()?;
        let d = read(logits, |x| cross_entropy_grad(x, vocab, &self.targets, upstream))?;
        Ok(Some(like(d, logits)?))
    }
}
