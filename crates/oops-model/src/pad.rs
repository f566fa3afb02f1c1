//! Widening a block with zeros: the same function under larger widths.

use candle_core::{DType, Device, Tensor};
use oops_core::{BlockDims, Fault, Result, Site, bail_if};

use crate::{Block, Linear, lift::Lift};

/// The block with zero weights in the units that `to` has and the block has not: rows of q, k, v, gate and up, columns
/// of o and down. New KV groups come last, so the query heads per KV head must stay as they are (a block without
/// attention has none and takes any).
pub fn pad_block(block: &Block, to: &BlockDims) -> Result<Block> {
    let from = &block.dims;
    let grows = to.query_heads >= from.query_heads && to.kv_heads >= from.kv_heads && to.ffn >= from.ffn;
    let same_groups = from.kv_heads == 0 || from.group_size() == to.group_size();
    bail_if(!grows || !same_groups || to.head_dim != from.head_dim, || {
        Fault::data(format!("a block of {from:?} cannot be padded to {to:?}"))
            .help("query heads per KV head and channels per head must be the same, and no width smaller")
    })?;
    let (wide, narrow) = (to.width(Site::AttnOut), to.kv_heads * to.head_dim);
    Ok(Block {
        dims: *to,
        q: rows(&block.q, wide)?,
        k: rows(&block.k, narrow)?,
        v: rows(&block.v, narrow)?,
        o: columns(&block.o, wide)?,
        gate: rows(&block.gate, to.ffn)?,
        up: rows(&block.up, to.ffn)?,
        down: columns(&block.down, to.ffn)?,
        ..block.clone()
    })
}

fn rows(layer: &Linear, count: usize) -> Result<Linear> {
    let bias = layer.bias.as_ref().map(|b| longer(b, 0, count)).transpose()?;
    Ok(Linear { weight: longer(&layer.weight, 0, count)?, bias })
}

fn columns(layer: &Linear, count: usize) -> Result<Linear> {
    Ok(Linear { weight: longer(&layer.weight, 1, count)?, bias: layer.bias.clone() })
}

/// `t` with zeros behind it along `dim`, `count` entries in all.
fn longer(t: &Tensor, dim: usize, count: usize) -> Result<Tensor> {
    let mut shape = t.dims().to_vec();
    if shape[dim] == count {
        return Ok(t.clone());
    }
    if shape[dim] == 0 {
        shape[dim] = count;
        return Tensor::zeros(shape, DType::F32, &Device::Cpu).lift();
    }
    t.pad_with_zeros(dim, 0, count - shape[dim]).and_then(|t| t.force_contiguous()).lift()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Decoder, Family,
        fixtures::{config, max_diff, random, random_block},
    };

    #[test]
    fn a_padded_block_is_the_same_function() {
        let hidden = 16;
        let wide = BlockDims { query_heads: 6, kv_heads: 3, head_dim: 4, ffn: 12 };
        for from in [
            BlockDims { query_heads: 2, kv_heads: 1, head_dim: 4, ffn: 5 },
            BlockDims { query_heads: 0, kv_heads: 0, head_dim: 4, ffn: 12 },
            BlockDims { query_heads: 6, kv_heads: 3, head_dim: 4, ffn: 0 },
        ] {
            let block = random_block(hidden, from, 1);
            let decoder = Decoder::new(&config(Family::Qwen3, hidden, vec![wide]), 7).unwrap();
            let x = random(&[7, hidden], 2, 1.0);
            let run = |b: &Block| decoder.block(b, &x, &[7], &mut |_, _| Ok(())).unwrap();
            assert!(max_diff(&run(&block), &run(&pad_block(&block, &wide).unwrap())) < 1e-5, "{from:?}");
        }
    }

    #[test]
    fn groups_of_another_size_are_refused() {
        let block = random_block(16, BlockDims { query_heads: 2, kv_heads: 1, head_dim: 4, ffn: 5 }, 1);
        let to = BlockDims { query_heads: 3, kv_heads: 3, head_dim: 4, ffn: 5 };
        assert!(pad_block(&block, &to).unwrap_err().what().contains("cannot be padded"));
    }
}
