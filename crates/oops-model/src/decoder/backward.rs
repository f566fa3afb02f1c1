//! Vector-Jacobian products on slices: the gradient at a block's input, and at its sites, from that at its output.
//!
//! Weights get no gradient, so each projection costs one product dY·W. Inner activations are recomputed from the block's
//! input, without the last projection, whose result no gradient needs: about twice the forward pass in all.

use candle_core::Tensor;
use oops_core::{Result, Site};

use super::{
    Decoder, GradTap,
    fast::{linear, matrix, shape},
    flat::flat,
};
use crate::{Block, Linear, kernels, lift::Lift};

/// Queries and keys on their way: as projected (kept only where a norm follows), and as attention sees them.
struct Heads {
    raw: Option<Vec<f32>>,
    turned: Vec<f32>,
}

/// See [`Decoder::block_grad`].
pub(super) fn block(
    d: &Decoder,
    b: &Block,
    x: &Tensor,
    lengths: &[usize],
    grad: &Tensor,
    tap: &mut GradTap<'_>,
) -> Result<Tensor> {
    let (rows, x, grad) = (x.dim(0).lift()?, flat(x)?, flat(grad)?);
    let mut h = vec![0.0; x.len()];
    kernels::rms_norm(&x, &flat(&b.input_norm)?, d.norm_eps, &mut h);
    let positions: Vec<u32> = lengths.iter().flat_map(|&n| 0..n as u32).collect();
    let q = heads(d, &h, &positions, &b.q, b.q_norm.as_ref())?;
    let k = heads(d, &h, &positions, &b.k, b.k_norm.as_ref())?;
    let v = linear(&h, rows, &b.v)?;
    let mixed = kernels::attention(&q.turned, &k.turned, &v, lengths, &shape(d, b));
    let mut y = linear(&mixed, rows, &b.o)?;
    kernels::add_into(&mut y, &x);

    let mut dy = ffn(d, b, &y, &mut h, &grad, tap)?;
    drop(y);
    kernels::add_into(&mut dy, &grad);
    let dmixed = linear_grad(&[(&dy, &b.o)], rows, b.dims.width(Site::AttnOut))?;
    tap(Site::AttnOut, &mixed, &dmixed)?;
    drop(mixed);
    let inner = kernels::attention_grad(&q.turned, &k.turned, &v, &dmixed, lengths, &shape(d, b));
    drop((v, dmixed));
    let dq = heads_grad(d, q, inner.q, &positions, b.q_norm.as_ref())?;
    let dk = heads_grad(d, k, inner.k, &positions, b.k_norm.as_ref())?;
    let dh = linear_grad(&[(&dq, &b.q), (&dk, &b.k), (&inner.v, &b.v)], rows, d.hidden)?;
    kernels::add_into(&mut dy, &kernels::rms_norm_grad(&x, &flat(&b.input_norm)?, &dh, d.norm_eps).0);
    matrix(dy, rows, d.hidden)
}

/// Gradient at the FFN's input `y` through its branch alone; `h` is scratch of the same size.
fn ffn(d: &Decoder, b: &Block, y: &[f32], h: &mut [f32], grad: &[f32], tap: &mut GradTap<'_>) -> Result<Vec<f32>> {
    let rows = y.len() / d.hidden.max(1);
    kernels::rms_norm(y, &flat(&b.ffn_norm)?, d.norm_eps, h);
    let (gate, up) = (linear(h, rows, &b.gate)?, linear(h, rows, &b.up)?);
    let dinner = linear_grad(&[(grad, &b.down)], rows, b.dims.ffn)?;
    let mut inner = gate.clone();
    kernels::swiglu(&mut inner, &up);
    tap(Site::MlpDown, &inner, &dinner)?;
    drop(inner);
    let (dgate, dup) = kernels::swiglu_grad(&gate, &up, &dinner);
    drop((gate, up, dinner));
    let dh = linear_grad(&[(&dgate, &b.gate), (&dup, &b.up)], rows, d.hidden)?;
    Ok(kernels::rms_norm_grad(y, &flat(&b.ffn_norm)?, &dh, d.norm_eps).0)
}

/// Σ dY·W over the layers that read the same `[rows, inputs]`.
fn linear_grad(layers: &[(&[f32], &Linear)], rows: usize, inputs: usize) -> Result<Vec<f32>> {
    let mut dx = vec![0.0; rows * inputs];
    for (dy, layer) in layers {
        kernels::linear_grad(&mut dx, dy, rows, &flat(&layer.weight)?, layer.weight.dim(0).lift()?);
    }
    Ok(dx)
}

fn heads(d: &Decoder, h: &[f32], positions: &[u32], layer: &Linear, norm: Option<&Tensor>) -> Result<Heads> {
    let mut turned = linear(h, positions.len(), layer)?;
    let raw = match norm {
        None => None,
        Some(weight) => {
            let mut normed = vec![0.0; turned.len()];
            kernels::rms_norm(&turned, &flat(weight)?, d.norm_eps, &mut normed);
            Some(std::mem::replace(&mut turned, normed))
        }
    };
    kernels::rotate(&mut turned, positions, &d.rope);
    Ok(Heads { raw, turned })
}

/// From the gradient at turned heads to that at their projection's result.
fn heads_grad(
    d: &Decoder,
    heads: Heads,
    mut grad: Vec<f32>,
    positions: &[u32],
    norm: Option<&Tensor>,
) -> Result<Vec<f32>> {
    kernels::rotate_back(&mut grad, positions, &d.rope);
    match (heads.raw, norm) {
        (Some(raw), Some(weight)) => Ok(kernels::rms_norm_grad(&raw, &flat(weight)?, &grad, d.norm_eps).0),
        _ => Ok(grad),
    }
}
