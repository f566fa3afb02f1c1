//! The backward pass of a block on slices: gradients at its input, at its sites and, where asked for, of its weights,
//! from that at its output.
//!
//! A projection Y = X·Wᵀ + b costs one product for dX = dY·W and, with weights, one for dW = dYᵀ·X.

use candle_core::{Device, Tensor};
use oops_core::{Result, Site};

use super::{
    Decoder, GradTap,
    fast::shape,
    flat::flat,
    operand::linear_grad,
    tape::{Heads, Tape},
};
use crate::{Block, Linear, kernels, lift::Lift};

/// Gradients of one half's tensors, in the order of the fields of [`Block`].
type Grads = Vec<Linear>;

/// Gradient at a block's input, and those of its tensors where asked for.
pub(super) struct Gradients {
    pub(super) input: Vec<f32>,
    pub(super) weights: Option<Block>,
}

/// The backward pass of `b` on `x`, whose forward pass is on `tape`, for the gradient `grad` at its output.
pub(super) fn block(
    d: &Decoder,
    b: &Block,
    x: &[f32],
    tape: Tape,
    grad: &[f32],
    tap: &mut GradTap<'_>,
    weights: bool,
) -> Result<Gradients> {
    let mut feed = ffn(d, b, &tape, grad, tap, weights)?;
    let Tape { lengths, positions, attended, q, k, v, mixed, middle, fed, gate, up } = tape;
    drop((middle, fed, gate, up));
    kernels::add_into(&mut feed.input, grad);
    let mut dmiddle = feed.input;
    let rows = positions.len();
    let dmixed = linear_grad(d, &[(&dmiddle, &b.o)], rows, b.dims.width(Site::AttnOut))?;
    tap(Site::AttnOut, &mixed, &dmixed, &dmiddle)?;
    let mut linears: Grads = Vec::new();
    if weights {
        linears.push(of_linear(&dmiddle, &mixed, &b.o)?);
    }
    drop(mixed);
    let inner = kernels::attention_grad(&q.turned, &k.turned, &v, &dmixed, &lengths, &shape(d, b));
    drop((v, dmixed));
    let (dq, dq_norm) = heads_grad(d, q, inner.q, &positions, b.q_norm.as_ref())?;
    let (dk, dk_norm) = heads_grad(d, k, inner.k, &positions, b.k_norm.as_ref())?;
    if weights {
        for (dy, layer) in [(&dq, &b.q), (&dk, &b.k), (&inner.v, &b.v)] {
            linears.push(of_linear(dy, &attended, layer)?);
        }
    }
    drop(attended);
    let dh = linear_grad(d, &[(&dq, &b.q), (&dk, &b.k), (&inner.v, &b.v)], rows, d.hidden)?;
    let (dx, dinput_norm) = kernels::rms_norm_grad(x, &flat(&b.input_norm)?, &dh, d.norm_eps);
    kernels::add_into(&mut dmiddle, &dx);
    let norms = [Some(dinput_norm), Some(feed.norm), dq_norm, dk_norm];
    let weights = if weights { Some(assemble(b, linears, feed.linears, norms)?) } else { None };
    Ok(Gradients { input: dmiddle, weights })
}

/// What the FFN's half gives: the gradient at its input through its branch alone, those of its norm, and of down, gate
/// and up.
struct Feed {
    input: Vec<f32>,
    norm: Vec<f32>,
    linears: Grads,
}

fn ffn(d: &Decoder, b: &Block, tape: &Tape, grad: &[f32], tap: &mut GradTap<'_>, weights: bool) -> Result<Feed> {
    let rows = tape.positions.len();
    let dinner = linear_grad(d, &[(grad, &b.down)], rows, b.dims.ffn)?;
    let inner = tape.inner();
    tap(Site::MlpDown, &inner, &dinner, grad)?;
    let mut linears = Vec::new();
    if weights {
        linears.push(of_linear(grad, &inner, &b.down)?);
    }
    drop(inner);
    let (dgate, dup) = kernels::swiglu_grad(&tape.gate, &tape.up, &dinner);
    drop(dinner);
    if weights {
        linears.push(of_linear(&dgate, &tape.fed, &b.gate)?);
        linears.push(of_linear(&dup, &tape.fed, &b.up)?);
    }
    let dh = linear_grad(d, &[(&dgate, &b.gate), (&dup, &b.up)], rows, d.hidden)?;
    let (input, norm) = kernels::rms_norm_grad(&tape.middle, &flat(&b.ffn_norm)?, &dh, d.norm_eps);
    Ok(Feed { input, norm, linears })
}

/// A block of gradients, each where its tensor lies: o, q, k, v, then down, gate, up, then the norms.
fn assemble(b: &Block, attention: Grads, feed: Grads, norms: [Option<Vec<f32>>; 4]) -> Result<Block> {
    let [o, q, k, v] = attention.try_into().map_err(|_| short())?;
    let [down, gate, up] = feed.try_into().map_err(|_| short())?;
    let [input_norm, ffn_norm, q_norm, k_norm] = norms.map(|n| n.map(vector).transpose());
    let (input_norm, ffn_norm) = (input_norm?.ok_or_else(short)?, ffn_norm?.ok_or_else(short)?);
    let (q_norm, k_norm) = (q_norm?, k_norm?);
    Ok(Block { dims: b.dims, input_norm, q, k, v, o, q_norm, k_norm, ffn_norm, gate, up, down })
}

fn short() -> oops_core::Fault {
    oops_core::Fault::internal("a gradient is missing")
}

/// Gradients of a layer's weight and bias from `dy` at its output and `x`, its input.
fn of_linear(dy: &[f32], x: &[f32], layer: &Linear) -> Result<Linear> {
    let (outputs, inputs) = layer.weight.dims2().lift()?;
    let rows = dy.len().checked_div(outputs).or_else(|| x.len().checked_div(inputs)).unwrap_or(0);
    let weight = Tensor::from_vec(kernels::weight_grad(dy, x, rows), (outputs, inputs), &Device::Cpu).lift()?;
    let bias = layer.bias.as_ref().map(|_| vector(kernels::bias_grad(dy, outputs))).transpose()?;
    Ok(Linear { weight, bias })
}

fn vector(values: Vec<f32>) -> Result<Tensor> {
    let n = values.len();
    Tensor::from_vec(values, n, &Device::Cpu).lift()
}

/// From the gradient at turned heads to that at their projection's result, and that of their norm.
fn heads_grad(
    d: &Decoder,
    heads: Heads,
    mut grad: Vec<f32>,
    positions: &[u32],
    norm: Option<&Tensor>,
) -> Result<(Vec<f32>, Option<Vec<f32>>)> {
    kernels::rotate_back(&mut grad, positions, &d.rope);
    match (heads.raw, norm) {
        (Some(raw), Some(weight)) => {
            let (dx, dw) = kernels::rms_norm_grad(&raw, &flat(weight)?, &grad, d.norm_eps);
            Ok((dx, Some(dw)))
        }
        _ => Ok((grad, None)),
    }
}
