//! A plan: which units stay, block by block.

use serde::{Deserialize, Serialize};

use crate::{BlockDims, Fault, ModelDims, Result, Site, bail_if};

/// What stays in one block. All lists hold indices into the unpruned block, ascending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockPlan {
    /// Kept key/value heads.
    pub kv_heads: Vec<u32>,
    /// Kept query heads; every kept KV head keeps the same number of them.
    pub query_heads: Vec<u32>,
    /// Kept FFN channels.
    pub ffn: Vec<u32>,
}

impl BlockPlan {
    /// Keeps everything.
    pub fn full(dims: &BlockDims) -> Self {
        let all = |n: usize| (0..n as u32).collect();
        Self { kv_heads: all(dims.kv_heads), query_heads: all(dims.query_heads), ffn: all(dims.ffn) }
    }

    /// Keeps these KV heads with all their query heads.
    pub fn of_groups(dims: &BlockDims, kv_heads: Vec<u32>, ffn: Vec<u32>) -> Self {
        let g = dims.group_size() as u32;
        let query_heads = kv_heads.iter().flat_map(|&k| k * g..(k + 1) * g).collect();
        Self { kv_heads, query_heads, ffn }
    }

    /// Widths after the cut.
    pub fn dims(&self, dense: &BlockDims) -> BlockDims {
        BlockDims {
            query_heads: self.query_heads.len(),
            kv_heads: self.kv_heads.len(),
            head_dim: dense.head_dim,
            ffn: self.ffn.len(),
        }
    }

    /// Kept columns of a site, ascending.
    pub fn channels(&self, site: Site, head_dim: usize) -> Vec<u32> {
        match site {
            Site::MlpDown => self.ffn.clone(),
            Site::AttnOut => expand_heads(&self.query_heads, head_dim),
        }
    }

    /// Kept rows of the key and value projections, ascending.
    pub fn kv_channels(&self, head_dim: usize) -> Vec<u32> {
        expand_heads(&self.kv_heads, head_dim)
    }

    /// Whether nothing is removed.
    pub fn is_full(&self, dims: &BlockDims) -> bool {
        self.dims(dims) == *dims
    }

    fn check(&self, dims: &BlockDims) -> Result<()> {
        let heads = dims.query_heads.max(dims.kv_heads) as u64;
        bail_if(heads.checked_mul(dims.head_dim as u64).is_none_or(|n| n > u64::from(u32::MAX)), || {
            Fault::data(format!("{heads} heads of {} channels are more channels than 32 bits count", dims.head_dim))
        })?;
        for (name, list, bound) in [
            ("kv_heads", &self.kv_heads, dims.kv_heads),
            ("query_heads", &self.query_heads, dims.query_heads),
            ("ffn", &self.ffn, dims.ffn),
        ] {
            let wrong =
                |what: String| Fault::data(format!("`{name}` must hold ascending indices below {bound}, but {what}"));
            if let Some(pair) = list.windows(2).find(|w| w[0] >= w[1]).map(<[u32]>::to_vec) {
                return Err(wrong(format!("{} follows {}", pair[1], pair[0])));
            }
            if let Some(index) = list.last().filter(|&&i| i as usize >= bound) {
                return Err(wrong(format!("holds {index}")));
            }
        }
        let per_group =
            |k: u32| self.query_heads.iter().filter(move |&&q| q as usize / dims.group_size() == k as usize);
        let counts: Vec<usize> = self.kv_heads.iter().map(|&k| per_group(k).count()).collect();
        let even = counts.windows(2).all(|w| w[0] == w[1]) && counts.iter().all(|&c| c > 0);
        bail_if(!even || counts.iter().sum::<usize>() != self.query_heads.len(), || {
            Fault::data("every kept KV head must keep the same number (at least one) of its own query heads")
        })
    }
}

/// Channels of heads. A channel beyond what 32 bits count, which [`Plan::check`] refuses, comes out as the last that they
/// do, which no model has: never as a small number.
fn expand_heads(heads: &[u32], head_dim: usize) -> Vec<u32> {
    let channel = |h: u32, i: usize| u32::try_from(u64::from(h) * head_dim as u64 + i as u64).unwrap_or(u32::MAX);
    heads.iter().flat_map(|&h| (0..head_dim).map(move |i| channel(h, i))).collect()
}

/// Which units stay, per block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Format version, 1.
    pub version: u32,
    /// One entry per block.
    pub blocks: Vec<BlockPlan>,
}

impl Plan {
    /// The format version that this code writes and reads.
    pub const VERSION: u32 = 1;

    /// Wraps block plans.
    pub fn new(blocks: Vec<BlockPlan>) -> Self {
        Self { version: Self::VERSION, blocks }
    }

    /// Checks that the plan fits a model: as many blocks, ascending indices in range, even query heads per group.
    pub fn check(&self, dims: &ModelDims) -> Result<()> {
        bail_if(self.version != Self::VERSION, || {
            Fault::data(format!("plan version {} is not {}", self.version, Self::VERSION))
        })?;
        bail_if(self.blocks.len() != dims.blocks.len(), || {
            Fault::data(format!("the plan has {} blocks, the model {}", self.blocks.len(), dims.blocks.len()))
        })?;
        let mut pairs = self.blocks.iter().zip(&dims.blocks).enumerate();
        pairs.try_for_each(|(l, (p, d))| p.check(d).map_err(|f| f.at(format!("plan of block {l}"))))
    }

    /// The model's dimensions after the cut.
    pub fn apply(&self, dims: &ModelDims) -> ModelDims {
        let blocks = self.blocks.iter().zip(&dims.blocks).map(|(p, d)| p.dims(d)).collect();
        ModelDims { blocks, ..dims.clone() }
    }

    /// Weights of decoder-block linear layers that the plan removes.
    pub fn removed_params(&self, dims: &ModelDims) -> u64 {
        dims.decoder_params() - self.apply(dims).decoder_params()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dims() -> ModelDims {
        let block = BlockDims { query_heads: 6, kv_heads: 2, head_dim: 4, ffn: 8 };
        ModelDims { hidden: 16, vocab: 32, tied: false, gated: true, blocks: vec![block] }
    }

    #[test]
    fn a_full_plan_removes_nothing_and_a_group_takes_its_cost() {
        let d = dims();
        let full = Plan::new(vec![BlockPlan::full(&d.blocks[0])]);
        full.check(&d).unwrap();
        assert_eq!(full.removed_params(&d), 0);
        let cut = Plan::new(vec![BlockPlan::of_groups(&d.blocks[0], vec![1], (0..8).collect())]);
        cut.check(&d).unwrap();
        assert_eq!(cut.removed_params(&d), d.unit_cost(0, crate::UnitKind::KvGroup));
        assert_eq!(cut.blocks[0].channels(Site::AttnOut, 4), (12..24).collect::<Vec<_>>());
    }

    #[test]
    fn more_channels_than_indices_can_name_are_refused() {
        let block = BlockDims { query_heads: 2, kv_heads: 2, head_dim: 1 << 31, ffn: 1 };
        let d = ModelDims { blocks: vec![block], ..dims() };
        let plan = Plan::new(vec![BlockPlan { kv_heads: vec![1], query_heads: vec![1], ffn: vec![0] }]);
        assert!(plan.check(&d).unwrap_err().to_string().contains("more channels than 32 bits count"));
        assert_eq!(expand_heads(&[1, 3], 4), [4, 5, 6, 7, 12, 13, 14, 15]);
        assert_eq!(expand_heads(&[u32::MAX], 2), [u32::MAX; 2]);
    }

    #[test]
    fn uneven_groups_and_bad_indices_are_refused() {
        let d = dims();
        let plan = |q: &[u32], ffn: &[u32]| {
            Plan::new(vec![BlockPlan { kv_heads: vec![0, 1], query_heads: q.to_vec(), ffn: ffn.to_vec() }])
        };
        assert!(plan(&[0, 1, 3], &[0]).check(&d).is_err());
        assert!(plan(&[0, 1, 3, 4], &[0]).check(&d).is_ok());
        assert!(plan(&[0, 1, 3, 4], &[1, 0]).check(&d).is_err());
        assert!(plan(&[0, 1, 3, 4], &[8]).check(&d).is_err());
    }
}
