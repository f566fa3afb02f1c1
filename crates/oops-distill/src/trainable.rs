//! A block in training: which of its tensors are variables, directly or through low-rank updates.
//!
//! Low rank (LoRA, arXiv 2106.09685): W = W₀ + B·A with A `[r, in]` random, B `[out, r]` zero at first; the optimiser's
//! state then has r·(in + out) values instead of in·out. Norms and biases are always trained whole.

use candle_core::Tensor;
use oops_core::{BlockDims, Fault, Result, Rng, Site};
use oops_model::{Block, Role};

use crate::fault;

/// How one tensor of the block depends on what is trained.
enum Slot {
    /// Nothing after it reaches the block's output.
    Dead,
    Whole(Tensor),
    LowRank {
        base: Tensor,
        a: Tensor,
        b: Tensor,
    },
}

/// See the file's description. The tensors in training are copies of its own, changed where they lie.
pub(crate) struct Trainable {
    template: Block,
    slots: Vec<Slot>,
}

impl Trainable {
    /// Starts at `block`; `rank` makes linear weights low-rank updates (at most their smaller side).
    pub(crate) fn new(block: &Block, rank: Option<usize>, rng: &mut Rng) -> Result<Self> {
        let mut slots = Vec::new();
        let template = block.map(&mut |site, role, t| {
            slots.push(slot(block.dims, site, role, t, rank, rng).map_err(fault)?);
            Ok(t.clone())
        })?;
        Ok(Self { template, slots })
    }

    /// What is trained, in a fixed order.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.slots
            .iter()
            .flat_map(|slot| match slot {
                Slot::Dead => [None, None],
                Slot::Whole(w) => [Some(w), None],
                Slot::LowRank { a, b, .. } => [Some(a), Some(b)],
            })
            .flatten()
    }

    /// The same, to be replaced.
    pub(crate) fn tensors_mut(&mut self) -> impl Iterator<Item = &mut Tensor> {
        self.slots
            .iter_mut()
            .flat_map(|slot| match slot {
                Slot::Dead => [None, None],
                Slot::Whole(w) => [Some(w), None],
                Slot::LowRank { a, b, .. } => [Some(a), Some(b)],
            })
            .flatten()
    }

    /// The block of this moment; its tensors change with later steps.
    pub(crate) fn block(&self) -> Result<Block> {
        let mut slots = self.slots.iter();
        self.template.map(&mut |_, _, t| match next(&mut slots)? {
            Slot::Dead => Ok(t.clone()),
            Slot::Whole(w) => Ok(w.clone()),
            Slot::LowRank { base, a, b } => b.matmul(a).and_then(|update| base.add(&update)).map_err(fault),
        })
    }

    /// From a block of gradients to the gradient of each of [`Self::tensors`]: dA = Bᵀ·dW and dB = dW·Aᵀ.
    pub(crate) fn gradients(&self, weights: &Block) -> Result<Vec<Tensor>> {
        let (mut slots, mut all) = (self.slots.iter(), Vec::new());
        weights.map(&mut |_, _, dw| {
            match next(&mut slots)? {
                Slot::Dead => {}
                Slot::Whole(_) => all.push(dw.clone()),
                Slot::LowRank { a, b, .. } => {
                    all.push(b.t().and_then(|b| b.matmul(dw)).map_err(fault)?);
                    all.push(a.t().and_then(|a| dw.matmul(&a)).map_err(fault)?);
                }
            }
            Ok(dw.clone())
        })?;
        Ok(all)
    }

    /// The block of this moment; later steps do not change it.
    pub(crate) fn snapshot(&self) -> Result<Block> {
        self.block()?.map(&mut |_, _, t| t.copy().map_err(fault))
    }
}

fn next<'a>(slots: &mut impl Iterator<Item = &'a Slot>) -> Result<&'a Slot> {
    slots.next().ok_or_else(|| Fault::internal("a tensor without a slot"))
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
            let a = Tensor::from_vec(a, (rank, inputs), t.device())?;
            // Zeros of the tensor library may share their storage; a copy never does.
            let b = Tensor::zeros((out, rank), t.dtype(), t.device())?.copy()?;
            Ok(Slot::LowRank { base: t.clone(), a, b })
        }
        _ => Ok(Slot::Whole(t.contiguous()?.copy()?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        adamw::AdamW,
        testkit::{block, noise},
    };
    use oops_model::values;

    const DIMS: BlockDims = BlockDims { query_heads: 4, kv_heads: 2, head_dim: 4, ffn: 12 };

    #[test]
    fn merged_weights_and_their_gradients_are_those_of_the_low_rank_forward() {
        let block = block(8, DIMS, 1);
        let mut trainable = Trainable::new(&block, Some(3), &mut Rng::new(1, "lora")).unwrap();
        // At first nothing has changed.
        assert_eq!(values(&trainable.snapshot().unwrap().q.weight).unwrap(), values(&block.q.weight).unwrap());
        *trainable.tensors_mut().nth(1).unwrap() = noise(&[16, 3], 5, 0.3);
        let Slot::LowRank { base, a, b } = &trainable.slots[0] else { panic!("the first slot is q") };
        let x = noise(&[7, 8], 6, 1.0);
        let merged = x.matmul(&trainable.snapshot().unwrap().q.weight.t().unwrap()).unwrap();
        let low = x.matmul(&a.t().unwrap()).unwrap().matmul(&b.t().unwrap()).unwrap();
        let apart = (x.matmul(&base.t().unwrap()).unwrap() + low).unwrap();
        let far =
            |a: &Tensor, b: &Tensor| (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(far(&merged, &apart) < 1e-5);
        // y = x·Aᵀ·Bᵀ with dy: dB = dyᵀ·(x·Aᵀ), dA = (dy·B)ᵀ·x, and dW = dyᵀ·x.
        let dy = noise(&[7, 16], 8, 1.0);
        let dw = dy.t().unwrap().matmul(&x).unwrap();
        let mut first = true;
        let gradients = block.map(&mut |_, _, t| Ok(if std::mem::take(&mut first) { dw.clone() } else { t.clone() }));
        let got = trainable.gradients(&gradients.unwrap()).unwrap();
        let da = dy.matmul(b).unwrap().t().unwrap().matmul(&x).unwrap();
        let db = dy.t().unwrap().matmul(&x.matmul(&a.t().unwrap()).unwrap()).unwrap();
        assert!(far(&got[0], &da) < 1e-4 && far(&got[1], &db) < 1e-4);
        assert!(got.iter().zip(trainable.tensors()).all(|(g, t)| g.dims() == t.dims()));
    }

    #[test]
    fn training_changes_neither_a_snapshot_nor_the_block_it_started_from() {
        let block = block(8, DIMS, 1);
        let trainable = Trainable::new(&block, None, &mut Rng::new(1, "x")).unwrap();
        let (snapshot, before) = (trainable.snapshot().unwrap(), values(&block.q.weight).unwrap());
        let mut adam = AdamW::new(trainable.tensors(), 1.0);
        let gradients: Vec<Tensor> = trainable.tensors().map(|t| t.ones_like().unwrap()).collect();
        adam.step(trainable.tensors(), &gradients, 0.5).unwrap();
        assert_eq!(values(&snapshot.q.weight).unwrap(), before);
        assert_eq!(values(&block.q.weight).unwrap(), before);
        let now = values(&trainable.snapshot().unwrap().q.weight).unwrap();
        assert!(now.iter().zip(before).all(|(now, before)| (before - now - 0.5).abs() < 1e-3));
    }
}
