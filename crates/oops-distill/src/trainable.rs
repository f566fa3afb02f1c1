//! A block in training: which of its tensors are variables, directly or through low-rank updates.
//!
//! Low rank (LoRA, arXiv 2106.09685): W = W₀ + B·A with A `[r, in]` random, B `[out, r]` zero at first; the optimiser's
//! state then has r·(in + out) values instead of in·out. Norms and biases are always trained whole.

use candle_core::{Tensor, Var};
use oops_core::{BlockDims, Fault, Result, Rng, Site};
use oops_model::{Block, Role};

use crate::fault;

/// How one tensor of the block depends on variables.
enum Slot {
    /// Nothing after it reaches the block's output.
    Dead,
    Whole(Var),
    LowRank {
        base: Tensor,
        a: Var,
        b: Var,
    },
}

/// See the file's description.
pub(crate) struct Trainable {
    template: Block,
    slots: Vec<Slot>,
}

impl Trainable {
    /// Variables that start at `block`; `rank` makes linear weights low-rank updates (at most their smaller side).
    pub(crate) fn new(block: &Block, rank: Option<usize>, rng: &mut Rng) -> Result<Self> {
        let mut slots = Vec::new();
        let template = block.map(&mut |site, role, t| {
            slots.push(slot(block.dims, site, role, t, rank, rng).map_err(fault)?);
            Ok(t.clone())
        })?;
        Ok(Self { template, slots })
    }

    /// All variables, in a fixed order.
    pub(crate) fn vars(&self) -> Vec<Var> {
        let of = |slot: &Slot| match slot {
            Slot::Dead => Vec::new(),
            Slot::Whole(v) => vec![v.clone()],
            Slot::LowRank { a, b, .. } => vec![a.clone(), b.clone()],
        };
        self.slots.iter().flat_map(of).collect()
    }

    /// The block as a function of the variables: gradients flow through it.
    pub(crate) fn block(&self) -> Result<Block> {
        let mut slots = self.slots.iter();
        self.template.map(&mut |_, _, t| {
            let slot = slots.next().ok_or_else(|| Fault::internal("a tensor without a slot"))?;
            match slot {
                Slot::Dead => Ok(t.clone()),
                Slot::Whole(v) => Ok(v.as_tensor().clone()),
                Slot::LowRank { base, a, b } => b.matmul(a).and_then(|update| base.add(&update)).map_err(fault),
            }
        })
    }

    /// The block of this moment, without gradients; later steps do not change it.
    pub(crate) fn snapshot(&self) -> Result<Block> {
        self.block()?.map(&mut |_, _, t| t.detach().copy().map_err(fault))
    }
}

fn slot(
    dims: BlockDims,
    site: Site,
    role: Role,
    t: &Tensor,
    rank: Option<usize>,
    rng: &mut Rng,
) -> candle_core::Result<Slot> {
    // Without heads (or FFN channels) only the bias of that half's last projection reaches the output.
    let dead = t.elem_count() == 0 || (role == Role::Norm && dims.width(site) == 0);
    match (role, rank) {
        _ if dead => Ok(Slot::Dead),
        (Role::Weight, Some(rank)) => {
            let (out, inputs) = t.dims2()?;
            let rank = rank.min(out).min(inputs);
            let spread = (3.0 / inputs as f64).sqrt();
            let a: Vec<f32> = (0..rank * inputs).map(|_| ((2.0 * rng.uniform() - 1.0) * spread) as f32).collect();
            let a = Var::from_vec(a, (rank, inputs), t.device())?;
            let b = Var::zeros((out, rank), t.dtype(), t.device())?;
            Ok(Slot::LowRank { base: t.clone(), a, b })
        }
        _ => Ok(Slot::Whole(Var::from_tensor(t)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{block, noise};
    use oops_model::values;

    const DIMS: BlockDims = BlockDims { query_heads: 4, kv_heads: 2, head_dim: 4, ffn: 12 };

    #[test]
    fn merged_weights_equal_the_low_rank_forward() {
        let block = block(8, DIMS, 1);
        let trainable = Trainable::new(&block, Some(3), &mut Rng::new(1, "lora")).unwrap();
        // At first nothing has changed.
        assert_eq!(values(&trainable.snapshot().unwrap().q.weight).unwrap(), values(&block.q.weight).unwrap());
        let Slot::LowRank { base, a, b } = &trainable.slots[0] else { panic!("the first slot is q") };
        b.set(&noise(&[16, 3], 5, 0.3)).unwrap();
        let x = noise(&[7, 8], 6, 1.0);
        let merged = x.matmul(&trainable.snapshot().unwrap().q.weight.t().unwrap()).unwrap();
        let low = x.matmul(&a.t().unwrap()).unwrap().matmul(&b.t().unwrap()).unwrap();
        let apart = (x.matmul(&base.t().unwrap()).unwrap() + low).unwrap();
        let far = (merged - apart).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(far < 1e-5, "{far}");
    }

    #[test]
    fn a_snapshot_does_not_follow_the_variables() {
        let trainable = Trainable::new(&block(8, DIMS, 1), None, &mut Rng::new(1, "x")).unwrap();
        let (snapshot, var) = (trainable.snapshot().unwrap(), &trainable.vars()[0]);
        let before = values(&snapshot.q.weight).unwrap();
        var.set(&var.zeros_like().unwrap()).unwrap();
        assert_eq!(values(&snapshot.q.weight).unwrap(), before);
        assert!(values(&trainable.snapshot().unwrap().q.weight).unwrap().iter().all(|v| *v == 0.0));
    }
}
