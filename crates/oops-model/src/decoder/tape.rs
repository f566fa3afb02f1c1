//! The forward pass on slices that remembers what the backward pass needs.

use candle_core::Tensor;
use oops_core::Result;

use super::{
    Decoder,
    fast::{linear, normed, shape},
};
use crate::{Block, Linear, kernels};

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
        let q = heads(d, &attended, &positions, &b.q, b.q_norm.as_ref())?;
        let k = heads(d, &attended, &positions, &b.k, b.k_norm.as_ref())?;
        let v = linear(&attended, rows, &b.v)?;
        let mixed = kernels::attention(&q.turned, &k.turned, &v, lengths, &shape(d, b));
        let mut middle = linear(&mixed, rows, &b.o)?;
        kernels::add_into(&mut middle, x);
        let fed = normed(d, &middle, &b.ffn_norm)?;
        let (gate, up) = (linear(&fed, rows, &b.gate)?, linear(&fed, rows, &b.up)?);
        Ok(Self { lengths: lengths.to_vec(), positions, attended, q, k, v, mixed, middle, fed, gate, up })
    }

    /// silu(gate) ⊙ up, the input of down.
    pub(super) fn inner(&self) -> Vec<f32> {
        let mut inner = self.gate.clone();
        kernels::swiglu(&mut inner, &self.up);
        inner
    }

    /// The block's output.
    pub(super) fn output(&self, b: &Block) -> Result<Vec<f32>> {
        let mut out = linear(&self.inner(), self.positions.len(), &b.down)?;
        kernels::add_into(&mut out, &self.middle);
        Ok(out)
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> usize {
        let raw = |h: &Heads| h.raw.as_ref().map_or(0, Vec::len) + h.turned.len();
        let rest = [&self.attended, &self.v, &self.mixed, &self.middle, &self.fed, &self.gate, &self.up];
        4 * (raw(&self.q) + raw(&self.k) + rest.iter().map(|v| v.len()).sum::<usize>() + self.positions.len())
    }
}

fn heads(d: &Decoder, h: &[f32], positions: &[u32], layer: &Linear, norm: Option<&Tensor>) -> Result<Heads> {
    let mut turned = linear(h, positions.len(), layer)?;
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
