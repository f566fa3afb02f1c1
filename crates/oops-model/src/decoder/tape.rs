//! The forward pass on slices that remembers what the backward pass needs.

use candle_core::Tensor;
use oops_core::Result;

use super::{
    Decoder,
    fast::{normed, shape},
    operand::Operand,
};
use crate::{Block, kernels};

/// Activations of one block over packed sequences, all `[N, …]` row-major; N = Σ lengths.
///
/// Per token 5·hidden + 3·(query and KV widths) + 2·ffn values at most, 4 bytes each.
pub struct Tape {
    pub(super) lengths: Vec<usize>,
    pub(super) positions: Vec<u32>,
    /// The normalised input of q, k and v.
    pub(super) attended: Vec<f32>,
    pub(super) q: Heads,
    pub(super) k: Heads,
    pub(super) v: Vec<f32>,
    /// The input of o.
    pub(super) mixed: Vec<f32>,
    /// The stream between the two halves.
    pub(super) middle: Vec<f32>,
    /// The normalised input of gate and up.
    pub(super) fed: Vec<f32>,
    pub(super) gate: Vec<f32>,
    pub(super) up: Vec<f32>,
}

/// Queries or keys on their way: as projected (kept only where a norm follows), and as attention sees them.
pub(super) struct Heads {
    pub(super) raw: Option<Vec<f32>>,
    pub(super) turned: Vec<f32>,
}

impl Tape {
    /// Runs `b` on `x` `[N, hidden]` up to the inputs of its last product.
    pub(super) fn record(d: &Decoder, b: &Block, x: &[f32], lengths: &[usize]) -> Result<Self> {
        let positions: Vec<u32> = lengths.iter().flat_map(|&n| 0..n as u32).collect();
        let rows = positions.len();
        let attended = normed(d, x, &b.input_norm)?;
        let operand = Operand::new(d, &attended, rows);
        let q = heads(d, operand.through(&b.q)?, &positions, b.q_norm.as_ref())?;
        let k = heads(d, operand.through(&b.k)?, &positions, b.k_norm.as_ref())?;
        let v = operand.through(&b.v)?;
        drop(operand);
        let mixed = kernels::attention(&q.turned, &k.turned, &v, lengths, &shape(d, b));
        let middle = Operand::new(d, &mixed, rows).added(x, &b.o)?;
        let fed = normed(d, &middle, &b.ffn_norm)?;
        let operand = Operand::new(d, &fed, rows);
        let (gate, up) = (operand.through(&b.gate)?, operand.through(&b.up)?);
        drop(operand);
        Ok(Self { lengths: lengths.to_vec(), positions, attended, q, k, v, mixed, middle, fed, gate, up })
    }

    /// silu(gate) ⊙ up, the input of down.
    pub(super) fn inner(&self) -> Vec<f32> {
        let mut inner = self.gate.clone();
        kernels::swiglu(&mut inner, &self.up);
        inner
    }

    /// The block's output.
    pub(super) fn output(&self, d: &Decoder, b: &Block) -> Result<Vec<f32>> {
        Operand::new(d, &self.inner(), self.positions.len()).added(&self.middle, &b.down)
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> usize {
        let raw = |h: &Heads| h.raw.as_ref().map_or(0, Vec::len) + h.turned.len();
        let rest = [&self.attended, &self.v, &self.mixed, &self.middle, &self.fed, &self.gate, &self.up];
        4 * (raw(&self.q) + raw(&self.k) + rest.iter().map(|v| v.len()).sum::<usize>() + self.positions.len())
    }
}

fn heads(d: &Decoder, mut turned: Vec<f32>, positions: &[u32], norm: Option<&Tensor>) -> Result<Heads> {
    let raw = match norm {
        None => None,
        Some(weight) => {
            let normed = normed(d, &turned, weight)?;
            Some(std::mem::replace(&mut turned, normed))
        }
    };
    kernels::rotate(&mut turned, positions, &d.rope);
    Ok(Heads { raw, turned })
}
