//! Bundles: the smallest sets of units that may go together. A KV group or a chunk of `channel_multiple` FFN channels;
//! for query heads one head from every group of the block, since groups must stay even.

use oops_artifact::{Scale, Scores, UnitScores};
use oops_core::{BlockDims, BlockPlan, Fault, ModelDims, Plan, Result, UnitKind, bail_if};

/// What must stay in every block, and in which steps widths may shrink.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// FFN widths after a cut are multiples of this.
    pub(crate) channel_multiple: usize,
    /// KV groups (or query heads per group) that stay in every block.
    pub(crate) min_attention: usize,
    /// Multiples of channels that stay in every block.
    pub(crate) min_multiples: usize,
    /// KV heads after a cut are multiples of this.
    pub(crate) group_multiple: usize,
    /// Attention loses nothing.
    pub(crate) attention_stays: bool,
}

impl Limits {
    /// KV groups that a block can lose, or query heads that each of its groups can.
    fn removable_attention(&self, kind: UnitKind, b: &BlockDims) -> usize {
        match kind {
            _ if self.attention_stays => 0,
            UnitKind::QueryHead => b.group_size().saturating_sub(self.min_attention),
            _ => b.kv_heads.saturating_sub(self.min_attention) / self.group_multiple * self.group_multiple,
        }
    }

    /// FFN channels that a block of `ffn` of them can lose.
    fn removable_channels(&self, ffn: usize) -> usize {
        ffn.saturating_sub(self.min_multiples.saturating_mul(self.channel_multiple))
    }
}

/// Units of one block that go together.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Bundle {
    /// Block.
    pub(crate) block: usize,
    /// Kind of its units.
    pub(crate) kind: UnitKind,
    /// Units, ascending.
    pub(crate) members: Vec<u32>,
    /// Weights that go with the bundle.
    pub(crate) cost: u64,
    /// Score, higher = keep: mean of standardised member scores, sum of damages.
    pub(crate) score: f64,
}

/// The removable bundles of one block and kind, worst first. A bundle may only go after those before it.
pub(crate) type Queue = Vec<Bundle>;

/// All queues of a model: per block one of attention bundles, then one of FFN bundles.
pub(crate) fn bundles(scores: &Scores, limits: &Limits) -> Vec<Queue> {
    let dims = &scores.info.dims;
    let mut queues = Vec::with_capacity(2 * dims.blocks.len());
    for (l, b) in scores.blocks.iter().enumerate() {
        queues.push(attention_queue(scores, l, &b.attention, limits));
        queues.push(ffn_queue(scores, l, &b.ffn, limits));
    }
    queues
}

/// Unprotected units of a block, lowest value first; equal values keep their order, so that the result is reproducible.
fn ascending(units: &UnitScores, value: &[f64]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..value.len() as u32).filter(|&u| !units.protected[u as usize]).collect();
    order.sort_by(|&a, &b| value[a as usize].total_cmp(&value[b as usize]));
    order
}

/// A bundle of the units `members`, priced by the units `priced`: scores decide how many go, ranks which ones.
fn bundle(scores: &Scores, block: usize, kind: UnitKind, members: &[u32], priced: &[u32], of: &[f64]) -> Bundle {
    let mut members = members.to_vec();
    members.sort_unstable();
    let total: f64 = priced.iter().map(|&u| of[u as usize]).sum();
    let score = if scores.info.scale == Scale::Standardized { total / priced.len() as f64 } else { total };
    let cost = members.len() as u64 * scores.info.dims.unit_cost(block, kind);
    Bundle { block, kind, members, cost, score }
}

fn attention_queue(scores: &Scores, l: usize, units: &UnitScores, limits: &Limits) -> Queue {
    let kind = scores.info.attention_unit;
    let dims = &scores.info.dims.blocks[l];
    let (by_rank, by_score) = (ascending(units, &units.rank), ascending(units, &units.score));
    // Query heads go one from each group per step: the i-th worst of every group together.
    let per_group = if kind == UnitKind::KvGroup { dims.kv_heads.max(1) } else { dims.group_size() };
    let groups = if kind == UnitKind::KvGroup { 1 } else { dims.kv_heads };
    let split = |order: &[u32]| -> Vec<Vec<u32>> {
        (0..groups).map(|k| order.iter().copied().filter(|&u| u as usize / per_group == k).collect()).collect()
    };
    let (ranked, priced) = (split(&by_rank), split(&by_score));
    let fewest = ranked.iter().map(Vec::len).min().unwrap_or(0);
    let most = limits.removable_attention(kind, dims);
    let together = if kind == UnitKind::KvGroup { limits.group_multiple } else { 1 };
    let step = |lists: &[Vec<u32>], i: usize| -> Vec<u32> {
        (i..i + together).flat_map(|i| lists.iter().map(move |u| u[i])).collect()
    };
    let steps = (0..fewest.min(most) / together).map(|i| i * together);
    steps.map(|i| bundle(scores, l, kind, &step(&ranked, i), &step(&priced, i), &units.score)).collect()
}

fn ffn_queue(scores: &Scores, l: usize, units: &UnitScores, limits: &Limits) -> Queue {
    let (n, m) = (units.score.len(), limits.channel_multiple);
    let (ranked, priced) = (ascending(units, &units.rank), ascending(units, &units.score));
    let removable = ranked.len().min(limits.removable_channels(n));
    // The first chunk brings the width to a multiple; every further one keeps it there.
    let first = if n % m == 0 { m } else { n % m };
    let mut queue = Vec::new();
    let (mut at, mut size) = (0, first);
    while at + size <= removable {
        let (members, prices) = (&ranked[at..at + size], &priced[at..at + size]);
        queue.push(bundle(scores, l, UnitKind::FfnChannel, members, prices, &units.score));
        at += size;
        size = m;
    }
    queue
}

/// The plan that keeps everything except the first `taken[q]` bundles of each queue.
pub(crate) fn plan_without(dims: &ModelDims, queues: &[Queue], taken: &[usize]) -> Plan {
    let keep = |n: usize, gone: &[Bundle]| -> Vec<u32> {
        let mut stays = vec![true; n];
        gone.iter().flat_map(|b| &b.members).for_each(|&u| stays[u as usize] = false);
        (0..n as u32).filter(|&u| stays[u as usize]).collect()
    };
    let block = |l: usize| {
        let d = &dims.blocks[l];
        let attention = &queues[2 * l][..taken[2 * l]];
        let ffn = keep(d.ffn, &queues[2 * l + 1][..taken[2 * l + 1]]);
        if attention.first().is_some_and(|b| b.kind == UnitKind::QueryHead) {
            let query_heads = keep(d.query_heads, attention);
            return BlockPlan { kv_heads: (0..d.kv_heads as u32).collect(), query_heads, ffn };
        }
        BlockPlan::of_groups(d, keep(d.kv_heads, attention), ffn)
    };
    Plan::new((0..dims.blocks.len()).map(block).collect())
}

/// Fails if a budget of `budget` weights cannot be met under `limits`.
pub(crate) fn check_budget(dims: &ModelDims, attention: UnitKind, limits: &Limits, budget: u64) -> Result<()> {
    let removable: u64 = dims
        .blocks
        .iter()
        .enumerate()
        .map(|(l, b)| {
            let lists = if attention == UnitKind::QueryHead { b.kv_heads } else { 1 };
            let units = lists * limits.removable_attention(attention, b);
            let channels = limits.removable_channels(b.ffn);
            units as u64 * dims.unit_cost(l, attention) + channels as u64 * dims.unit_cost(l, UnitKind::FfnChannel)
        })
        .sum();
    bail_if(budget > removable, || {
        let most = removable as f64 / dims.decoder_params() as f64;
        Fault::config(format!("the budget cannot be met: at most {most:.4} of the decoder's linear weights can go"))
            .help("lower `remove_fraction` or `channel_multiple`, or let less stay with `min_attention` and `min_multiples`")
    })
}

#[cfg(test)]
pub(crate) mod testkit {
    use oops_artifact::{BlockScores, ScoresInfo};
    use oops_core::BlockDims;

    use super::*;

    /// Three blocks with distinct pseudo-random scores.
    pub(crate) fn scores(attention_unit: UnitKind, scale: Scale) -> Scores {
        let block = BlockDims { query_heads: 6, kv_heads: 3, head_dim: 2, ffn: 20 };
        let dims = ModelDims { hidden: 8, vocab: 16, tied: false, gated: true, blocks: vec![block; 3] };
        let mut rng = oops_core::Rng::new(3, "select");
        let mut draw = |n: usize| (0..n).map(|_| rng.uniform()).collect::<Vec<_>>();
        let blocks = (0..3).map(|_| BlockScores::plain(draw(attention_unit.count(&block)), draw(20))).collect();
        let info = ScoresInfo { method: "test".into(), scale, attention_unit, dims, outlier_share: None };
        Scores { info, blocks }
    }

    pub(crate) const LIMITS: Limits =
        Limits { channel_multiple: 1, min_attention: 1, min_multiples: 1, group_multiple: 1, attention_stays: false };
}

#[cfg(test)]
mod tests {
    use super::{testkit::*, *};

    #[test]
    fn queues_leave_what_must_stay_and_respect_the_multiple() {
        let s = scores(UnitKind::KvGroup, Scale::Damage);
        let q = bundles(&s, &Limits { channel_multiple: 8, ..LIMITS });
        assert_eq!(q[0].len(), 2, "one of three groups stays");
        // 20 channels: 4 go first (16 left), then 8 (8 left), and the last 8 stay.
        assert_eq!(q[1].iter().map(|b| b.members.len()).collect::<Vec<_>>(), [4, 8]);
        let plan = plan_without(&s.info.dims, &q, &[2, 2, 0, 0, 0, 1]);
        plan.check(&s.info.dims).unwrap();
        assert_eq!(plan.blocks[0].ffn.len(), 8);
        assert_eq!(
            plan.removed_params(&s.info.dims),
            q[0].iter().chain(&q[1]).map(|b| b.cost).sum::<u64>() + q[5][0].cost
        );
    }

    #[test]
    fn query_heads_go_evenly_from_all_groups() {
        let s = scores(UnitKind::QueryHead, Scale::Damage);
        let q = bundles(&s, &LIMITS);
        assert_eq!(q[0].len(), 1, "one of two heads per group stays");
        assert_eq!(q[0][0].members.iter().map(|h| h / 2).collect::<Vec<_>>(), [0, 1, 2]);
        plan_without(&s.info.dims, &q, &[1, 0, 1, 3, 0, 0]).check(&s.info.dims).unwrap();
    }

    #[test]
    fn groups_go_as_many_at_a_time_as_devices_share_them_or_not_at_all() {
        let mut s = scores(UnitKind::KvGroup, Scale::Damage);
        for (dims, block) in s.info.dims.blocks.iter_mut().zip(&mut s.blocks) {
            (dims.query_heads, dims.kv_heads) = (10, 5);
            block.attention = UnitScores::plain(vec![5.0, 1.0, 4.0, 2.0, 3.0]);
        }
        let q = bundles(&s, &Limits { group_multiple: 2, ..LIMITS });
        assert_eq!(q[0].iter().map(|b| b.members.clone()).collect::<Vec<_>>(), [[1, 3], [2, 4]]);
        let q = bundles(&s, &Limits { group_multiple: 2, min_attention: 2, ..LIMITS });
        assert_eq!(q[0].len(), 1);
        let whole = Limits { attention_stays: true, ..LIMITS };
        assert!(bundles(&s, &whole)[0].is_empty());
        let ffn = 3 * 19 * s.info.dims.unit_cost(0, UnitKind::FfnChannel);
        check_budget(&s.info.dims, UnitKind::KvGroup, &whole, ffn).unwrap();
        assert!(check_budget(&s.info.dims, UnitKind::KvGroup, &whole, ffn + 1).is_err());
    }

    #[test]
    fn scores_decide_how_many_and_ranks_which_and_protected_units_stay() {
        let mut s = scores(UnitKind::KvGroup, Scale::Damage);
        let ffn = &mut s.blocks[0].ffn;
        ffn.rank = (0..20).map(f64::from).collect();
        ffn.protected[0] = true;
        let q = bundles(&s, &LIMITS);
        let gone: Vec<u32> = q[1].iter().flat_map(|b| b.members.clone()).collect();
        assert_eq!(gone, (1..20).collect::<Vec<_>>());
        assert!(q[1].windows(2).all(|w| w[0].score <= w[1].score));
    }

    #[test]
    fn an_impossible_budget_is_refused_with_the_most_that_can_go() {
        let s = scores(UnitKind::KvGroup, Scale::Damage);
        let all = s.info.dims.decoder_params();
        let fault = check_budget(&s.info.dims, UnitKind::KvGroup, &LIMITS, all).unwrap_err();
        assert!(fault.what().contains("at most 0."), "{fault}");
        check_budget(&s.info.dims, UnitKind::KvGroup, &LIMITS, all / 2).unwrap();
    }
}
