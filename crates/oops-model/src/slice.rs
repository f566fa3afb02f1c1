//! Cutting a block down to the units that a plan keeps.

use candle_core::{Device, Tensor};
use oops_core::{BlockPlan, Fault, Result, Site, bail_if};

use crate::{Block, Linear, host, lift::Lift};

/// The block with only the units of `plan`: rows of q, k, v, gate and up and columns of o and down are gathered into
/// new, contiguous weights. Biases of o and down, and all norms, stay whole.
pub fn slice_block(block: &Block, plan: &BlockPlan) -> Result<Block> {
    let head_dim = block.dims.head_dim;
    let wide = plan.channels(Site::AttnOut, head_dim);
    let narrow = plan.kv_channels(head_dim);
    Ok(Block {
        dims: plan.dims(&block.dims),
        q: rows(&block.q, &wide)?,
        k: rows(&block.k, &narrow)?,
        v: rows(&block.v, &narrow)?,
        o: columns(&block.o, &wide)?,
        gate: rows(&block.gate, &plan.ffn)?,
        up: rows(&block.up, &plan.ffn)?,
        down: columns(&block.down, &plan.ffn)?,
        ..block.clone()
    })
}

fn rows(layer: &Linear, kept: &[u32]) -> Result<Linear> {
    let (count, width) = layer.weight.dims2().lift()?;
    check(kept, count)?;
    let gather = |values: &[f32], width: usize| -> Vec<f32> {
        kept.iter().flat_map(|&r| &values[r as usize * width..(r as usize + 1) * width]).copied().collect()
    };
    let weight = host::with_values(&layer.weight, |w| gather(w, width))?;
    let bias = layer.bias.as_ref().map(|b| host::with_values(b, |b| gather(b, 1))).transpose()?;
    let weight = Tensor::from_vec(weight, (kept.len(), width), &Device::Cpu).lift()?;
    let bias = bias.map(|b| Tensor::from_vec(b, kept.len(), &Device::Cpu).lift()).transpose()?;
    Ok(Linear { weight, bias })
}

fn columns(layer: &Linear, kept: &[u32]) -> Result<Linear> {
    let (count, width) = layer.weight.dims2().lift()?;
    check(kept, width)?;
    let gather = |w: &[f32]| -> Vec<f32> {
        (0..count).flat_map(|r| kept.iter().map(move |&c| w[r * width + c as usize])).collect()
    };
    let weight = host::with_values(&layer.weight, gather)?;
    let weight = Tensor::from_vec(weight, (count, kept.len()), &Device::Cpu).lift()?;
    Ok(Linear { weight, bias: layer.bias.clone() })
}

fn check(kept: &[u32], bound: usize) -> Result<()> {
    bail_if(kept.iter().any(|&i| i as usize >= bound), || {
        Fault::data(format!("the plan keeps channel {} of {bound}", kept.iter().max().unwrap_or(&0)))
    })
}

#[cfg(test)]
mod tests {
    use oops_core::{BlockDims, UnitKind};

    use super::*;
    use crate::{
        Checkpoint,
        fixtures::{TINY, fixture, logits, max_diff, random_block},
    };

    /// Removes every third unit of a kind; of query heads the last of each group, or with its group if it is alone.
    fn plan(kind: UnitKind, dims: &BlockDims) -> BlockPlan {
        let full = BlockPlan::full(dims);
        let g = dims.group_size() as u32;
        match kind {
            UnitKind::FfnChannel => BlockPlan { ffn: full.ffn.into_iter().filter(|i| i % 3 != 1).collect(), ..full },
            UnitKind::QueryHead if g > 1 => {
                BlockPlan { query_heads: full.query_heads.into_iter().filter(|i| i % g != g - 1).collect(), ..full }
            }
            _ => BlockPlan::of_groups(dims, full.kv_heads.into_iter().filter(|i| i % 3 != 1).collect(), full.ffn),
        }
    }

    /// The whole block with zeros in the columns of o and down that the plan removes.
    fn masked(block: &Block, plan: &BlockPlan) -> Block {
        let mask = |layer: &Linear, site: Site| {
            let kept = plan.channels(site, block.dims.head_dim);
            let one = |i: u32| if kept.contains(&i) { 1.0_f32 } else { 0.0 };
            let mask: Vec<f32> = (0..block.dims.width(site) as u32).map(one).collect();
            let mask = crate::vector(mask).unwrap();
            Linear { weight: layer.weight.broadcast_mul(&mask).unwrap(), bias: layer.bias.clone() }
        };
        Block { o: mask(&block.o, Site::AttnOut), down: mask(&block.down, Site::MlpDown), ..block.clone() }
    }

    #[test]
    #[ignore = "needs OOPS_FIXTURES"]
    fn a_sliced_model_equals_the_masked_one() {
        for name in TINY {
            let path = fixture(&format!("models/tiny-random/{name}"));
            let model = Checkpoint::open_path(&path).unwrap();
            let ids: Vec<u32> = (0..30).map(|i| i * 7 % 128).collect();
            for kind in UnitKind::ALL {
                let plan = plan(kind, &model.config().dims.blocks[0]);
                let sliced = logits(&model, &ids, &[19, 11], |_, b| slice_block(&b, &plan).unwrap());
                let masked = logits(&model, &ids, &[19, 11], |_, b| masked(&b, &plan));
                assert!(max_diff(&sliced, &masked) <= 1e-4, "{name}, {kind}");
            }
        }
    }

    #[test]
    fn slices_own_their_memory_and_a_full_plan_changes_nothing() {
        let dims = BlockDims { query_heads: 4, kv_heads: 2, head_dim: 4, ffn: 6 };
        let block = random_block(8, dims, 1);
        let same = slice_block(&block, &BlockPlan::full(&dims)).unwrap();
        for (a, b) in block.tensors().into_iter().zip(same.tensors()) {
            assert_eq!(crate::values(a).unwrap(), crate::values(b).unwrap());
        }
        let cut = slice_block(&block, &BlockPlan::of_groups(&dims, vec![1], vec![2, 5])).unwrap();
        cut.check(8).unwrap();
        let (storage, _) = cut.q.weight.storage_and_layout();
        assert!(matches!(&*storage, candle_core::Storage::Cpu(candle_core::CpuStorage::F32(v)) if v.len() == 8 * 8));
        let column = |t: &Tensor, c: usize| crate::values(&t.narrow(1, c, 1).unwrap()).unwrap();
        assert_eq!(column(&cut.down.weight, 1), column(&block.down.weight, 5));
        assert_eq!(column(&cut.o.weight, 0), column(&block.o.weight, 8));
    }

    #[test]
    fn a_plan_for_wider_blocks_is_refused() {
        let dims = BlockDims { query_heads: 2, kv_heads: 2, head_dim: 4, ffn: 6 };
        let plan = BlockPlan { ffn: vec![6], ..BlockPlan::full(&dims) };
        assert!(slice_block(&random_block(8, dims, 1), &plan).is_err());
    }
}
