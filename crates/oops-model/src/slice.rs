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
