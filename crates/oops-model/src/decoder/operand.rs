//! Activations on their way into linear layers: packed once for all layers that read them.

use oops_bf16::{Activations, Weights, add_product, product, product_of_two};
use oops_core::Result;

use super::{Decoder, flat::flat};
use crate::{ComputeDtype, Linear, kernels, lift::Lift};

/// Rows that linear layers read, in the decoder's precision.
pub(super) enum Operand<'a> {
    /// Values and the number of rows.
    F32(&'a [f32], usize),
    Bf16(Activations),
}

impl<'a> Operand<'a> {
    /// `rows` rows.
    pub(super) fn new(d: &Decoder, values: &'a [f32], rows: usize) -> Self {
        match d.compute {
            ComputeDtype::F32 => Self::F32(values, rows),
            ComputeDtype::Bf16 => Self::Bf16(Activations::new(values, rows)),
        }
    }

    /// x·Wᵀ + b of every row x.
    pub(super) fn through(&self, layer: &Linear) -> Result<Vec<f32>> {
        let bias = layer.bias.as_ref().map(flat).transpose()?;
        Ok(match self {
            Self::F32(values, rows) => {
                let outputs = layer.weight.dim(0).lift()?;
                kernels::linear(values, *rows, &flat(&layer.weight)?, bias.as_deref(), outputs)
            }
            Self::Bf16(x) => match bias {
                None => product(x, &weights(layer)?),
                Some(bias) => {
                    let mut out = bias.repeat(x.rows());
                    add_product(&mut out, x, &weights(layer)?);
                    out
                }
            },
        })
    }

    /// `residual` + x·Wᵀ + b of every row x.
    pub(super) fn added(&self, residual: &[f32], layer: &Linear) -> Result<Vec<f32>> {
        if let (Self::Bf16(x), None) = (self, &layer.bias) {
            let mut out = residual.to_vec();
            add_product(&mut out, x, &weights(layer)?);
            return Ok(out);
        }
        let mut out = self.through(layer)?;
        kernels::add_into(&mut out, residual);
        Ok(out)
    }

    /// silu(gate(x)) ⊙ up(x) of every row x.
    pub(super) fn gated(&self, gate: &Linear, up: &Linear) -> Result<Vec<f32>> {
        if let (Self::Bf16(x), None, None) = (self, &gate.bias, &up.bias) {
            return Ok(product_of_two(x, [&weights(gate)?, &weights(up)?], kernels::swiglu_piece));
        }
        let mut inner = self.through(gate)?;
        kernels::swiglu(&mut inner, &self.through(up)?);
        Ok(inner)
    }
}

/// Σ dY·W over layers whose inputs are the same `rows` rows of `inputs` values: the gradient there.
pub(super) fn linear_grad(d: &Decoder, layers: &[(&[f32], &Linear)], rows: usize, inputs: usize) -> Result<Vec<f32>> {
    let mut dx = vec![0.0; rows * inputs];
    for (dy, layer) in layers {
        let (weight, outputs) = (flat(&layer.weight)?, layer.weight.dim(0).lift()?);
        match d.compute {
            ComputeDtype::F32 => kernels::linear_grad(&mut dx, dy, rows, &weight, outputs),
            // The transpose of a matrix without rows is not known to have any.
            ComputeDtype::Bf16 if outputs == 0 => {}
            ComputeDtype::Bf16 => {
                add_product(&mut dx, &Activations::new(dy, rows), &Weights::transposed(&weight, outputs));
            }
        }
    }
    Ok(dx)
}

fn weights(layer: &Linear) -> Result<Weights> {
    Ok(Weights::new(&flat(&layer.weight)?, layer.weight.dim(0).lift()?))
}
