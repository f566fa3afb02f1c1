//! One block in two halves, so that each projection can be repaired between its input and its output.

use candle_core::Tensor;
use oops_core::{BlockDims, Fault, Result, Site};
use oops_model::{Block, Decoder, Linear, matrix, with_values};
use rayon::prelude::*;

/// A failure of the tensor library, which the shapes here rule out.
pub(crate) fn fault(e: candle_core::Error) -> Fault {
    Fault::internal(format!("reconstruction: {e}"))
}

/// The block without attention: a residual stream goes through its FFN alone.
pub(crate) fn without_attention(block: &Block) -> Result<Block> {
    let hidden = block.o.weight.dim(0).map_err(fault)?;
    let none = |rows, cols| Ok::<_, Fault>(Linear { weight: matrix(Vec::new(), rows, cols)?, bias: None });
    Ok(Block {
        dims: BlockDims { query_heads: 0, kv_heads: 0, ..block.dims },
        q: none(0, hidden)?,
        k: none(0, hidden)?,
        v: none(0, hidden)?,
        o: none(hidden, 0)?,
        q_norm: None,
        k_norm: None,
        ..block.clone()
    })
}

/// The input of the projection behind `site`, `[N, width]`, for sequences of `lengths` tokens packed in `x`
/// `[N, hidden]`. Nothing behind the site is computed; for [`Site::MlpDown`], `block` has no attention and `x` is the
/// stream behind it.
pub(crate) fn site_input(
    decoder: &Decoder,
    block: &Block,
    x: &Tensor,
    lengths: &[usize],
    site: Site,
) -> Result<Tensor> {
    let mut input = None;
    let passed = decoder.block(block, x, lengths, &mut |at, values| {
        if at != site {
            return Ok(());
        }
        input = Some(values.clone());
        // Ends the pass: whatever the decoder fails with from here on is this.
        Err(Fault::interrupted("the site's input is all that was asked for"))
    });
    input.map_or_else(|| passed.and(Err(Fault::internal(format!("the decoder never came to {site}")))), Ok)
}

/// x·Wᵀ + b.
pub(crate) fn project(x: &Tensor, layer: &Linear) -> Result<Tensor> {
    let y = layer.weight.t().and_then(|w| x.matmul(&w)).map_err(fault)?;
    layer.bias.iter().try_fold(y, |y, bias| y.broadcast_add(bias)).map_err(fault)
}

/// The columns `kept` of `x`.
pub(crate) fn columns(x: &Tensor, kept: &[usize]) -> Result<Tensor> {
    let (rows, width) = x.dims2().map_err(fault)?;
    if kept.len() == width {
        return Ok(x.clone());
    }
    let mut out = vec![0.0; rows * kept.len()];
    with_values(x, |x| {
        let pairs = out.par_chunks_mut(kept.len().max(1)).zip(x.par_chunks(width.max(1)));
        pairs.for_each(|(out, row)| out.iter_mut().zip(kept).for_each(|(o, &j)| *o = row[j]));
    })?;
    matrix(out, rows, kept.len())
}

#[cfg(test)]
mod tests {
    use oops_model::{slice_block, values};

    use super::*;
    use crate::testkit::{DIMS, HIDDEN, block, config, noise};

    #[test]
    fn two_halves_make_the_block() {
        let (block, decoder) = (block(1), Decoder::new(&config(1), 8).unwrap());
        let (x, lengths) = (noise(&[12, HIDDEN], 5, 1.0), [8, 4]);
        let whole = decoder.block(&block, &x, &lengths, &mut |_, _| Ok(())).unwrap();
        let mixed = site_input(&decoder, &block, &x, &lengths, Site::AttnOut).unwrap();
        let y = (&x + project(&mixed, &block.o).unwrap()).unwrap();
        let inner = site_input(&decoder, &without_attention(&block).unwrap(), &y, &lengths, Site::MlpDown).unwrap();
        let out = (y + project(&inner, &block.down).unwrap()).unwrap();
        let (a, b) = (values(&whole).unwrap(), values(&out).unwrap());
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-5 * (1.0 + a.abs())));
    }

    #[test]
    fn columns_of_a_dense_input_are_the_input_of_the_sliced_block() {
        let (block, decoder) = (block(2), Decoder::new(&config(1), 8).unwrap());
        let x = noise(&[8, HIDDEN], 6, 1.0);
        let plan = oops_core::BlockPlan::of_groups(&DIMS, vec![1], vec![0, 3, 20]);
        let sliced = slice_block(&block, &plan).unwrap();
        for site in Site::ALL {
            let half = |b: &Block| if site == Site::MlpDown { without_attention(b).unwrap() } else { b.clone() };
            let input = |b: &Block| site_input(&decoder, &half(b), &x, &[8], site).unwrap();
            let kept: Vec<usize> = plan.channels(site, DIMS.head_dim).iter().map(|&c| c as usize).collect();
            let (a, b) = (columns(&input(&block), &kept).unwrap(), input(&sliced));
            assert!(values(&a).unwrap().iter().zip(values(&b).unwrap()).all(|(a, b)| (a - b).abs() < 1e-5), "{site}");
        }
    }
}
