//! The forward pass of tokens behind others whose keys and values are kept.

use oops_core::{ModelDims, Result};
use rayon::prelude::*;

use super::{
    Decoder,
    fast::{heads, linear, normed, shape},
    flat::flat,
};
use crate::{
    Block, Linear,
    kernels::{self, FEW_ROWS},
    lift::Lift,
};

/// Keys (as attention sees them) and values of the tokens of one sequence, in every block.
///
/// Takes 8 · Σ over blocks of kv_heads · head_dim bytes per token, in f32 and reserved when it is made; with a sliding
/// window too, since what has left the window is kept.
pub struct KvCache {
    pub(super) blocks: Vec<BlockCache>,
    pub(super) tokens: usize,
    pub(super) capacity: usize,
}

/// Of one block, both `[tokens, kv_heads·head_dim]`.
pub(super) struct BlockCache {
    pub(super) keys: Vec<f32>,
    pub(super) values: Vec<f32>,
}

impl KvCache {
    /// An empty cache for up to `capacity` tokens.
    pub(super) fn new(dims: &ModelDims, capacity: usize) -> Self {
        let block = |width: usize| BlockCache {
            keys: Vec::with_capacity(capacity * width),
            values: Vec::with_capacity(capacity * width),
        };
        let blocks = dims.blocks.iter().map(|b| block(b.kv_heads * b.head_dim)).collect();
        Self { blocks, tokens: 0, capacity }
    }

    /// Tokens that it holds.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Forgets all tokens and keeps its memory.
    pub fn clear(&mut self) {
        self.tokens = 0;
        for block in &mut self.blocks {
            block.keys.clear();
            block.values.clear();
        }
    }
}

/// One block over the next tokens of a sequence: `x` `[n, hidden]` behind `past` tokens in `cache`, which takes them in.
pub(super) fn block(d: &Decoder, b: &Block, x: &[f32], past: usize, cache: &mut BlockCache) -> Result<Vec<f32>> {
    let rows = x.len() / d.hidden;
    let positions: Vec<u32> = (past..past + rows).map(|p| p as u32).collect();
    let [q, k, v] = project(&normed(d, x, &b.input_norm)?, rows, [&b.q, &b.k, &b.v])?;
    let q = heads(d, q, b.q_norm.as_ref(), &positions)?;
    cache.keys.extend(heads(d, k, b.k_norm.as_ref(), &positions)?);
    cache.values.extend(v);
    let attention = if rows <= FEW_ROWS { kernels::attention_few } else { kernels::attention_after };
    let mixed = attention(&q, &cache.keys, &cache.values, past, &shape(d, b));
    let [mut y] = project(&mixed, rows, [&b.o])?;
    kernels::add_into(&mut y, x);

    let [mut inner, up] = project(&normed(d, &y, &b.ffn_norm)?, rows, [&b.gate, &b.up])?;
    kernels::swiglu(&mut inner, &up);
    let [mut out] = project(&inner, rows, [&b.down])?;
    kernels::add_into(&mut out, &y);
    Ok(out)
}

/// Several layers on the same `rows` rows: few rows go through all layers at once, many through one after the other.
fn project<const N: usize>(x: &[f32], rows: usize, layers: [&Linear; N]) -> Result<[Vec<f32>; N]> {
    let few = |layer: &&Linear| -> Result<Vec<f32>> {
        let bias = layer.bias.as_ref().map(flat).transpose()?;
        Ok(kernels::linear_few(x, rows, &flat(&layer.weight)?, bias.as_deref(), layer.weight.dim(0).lift()?))
    };
    let mut out = [const { Vec::new() }; N];
    if rows <= FEW_ROWS {
        out.par_iter_mut().zip(&layers).try_for_each(|(out, layer)| few(layer).map(|y| *out = y))?;
    } else {
        out.iter_mut().zip(layers).try_for_each(|(out, layer)| linear(x, rows, layer).map(|y| *out = y))?;
    }
    Ok(out)
}
