//! `select.global`
//!
//! One threshold over the whole model: bundles go in order of score until the budget is spent, whatever block they
//! are in. Standardised scores (FLAP) are compared as they are, damages per weight that they free (score / cost), the
//! continuous knapsack's greedy order; `rank_by` overrides. The plan removes no more than it is asked for; as FLAP's authors'
//! code does it (`stop: nearest`), the threshold is where the removed weights are nearest to the budget, on either side.
//! *Reference.* FLAP's adaptive search, arXiv 2312.11983 (score); Dantzig 1957 for the ratio.

use oops_artifact::{Scale, Scores};
use oops_core::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    bundle::Queue,
    stage::{Selected, Selector, selection_params},
};

/// Order in which bundles go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RankBy {
    /// `score` for standardised scores, `score_per_cost` for damages.
    Auto,
    /// The score itself.
    Score,
    /// Score per weight that goes.
    ScorePerCost,
}

/// Where the removal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stop {
    /// With the last bundle that fits into the budget; smaller ones that still fit go too.
    Below,
    /// At the threshold where the removed weights are nearest to the budget, by half a bundle above it at most.
    Nearest,
}

selection_params! {
    /// Parameters of global selection.
    pub(crate) struct Params {
        /// `auto`, `score` or `score_per_cost`.
        #[serde(default = "auto")]
        rank_by: RankBy,
        /// `below` (never more than `remove_fraction`) or `nearest` (as FLAP's authors' code: half a bundle more at most).
        #[serde(default = "below")]
        stop: Stop,
    }
}

fn auto() -> RankBy {
    RankBy::Auto
}

fn below() -> Stop {
    Stop::Below
}

pub(crate) struct Global;

impl Selector for Global {
    type Params = Params;
    const NAME: &'static str = "select.global";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "one threshold over all blocks";

    fn may_exceed(p: &Params) -> bool {
        p.stop == Stop::Nearest
    }

    fn select(p: &Params, scores: &Scores, queues: &[Queue], budget: u64) -> Result<Selected> {
        let per_cost = match p.rank_by {
            RankBy::Auto => scores.info.scale == Scale::Damage,
            RankBy::Score => false,
            RankBy::ScorePerCost => true,
        };
        let key = |q: usize, i: usize| {
            let b = &queues[q][i];
            if per_cost { b.score / b.cost as f64 } else { b.score }
        };
        let mut order: Vec<(usize, usize)> =
            queues.iter().enumerate().flat_map(|(q, queue)| (0..queue.len()).map(move |i| (q, i))).collect();
        // A bundle is never ahead of one before it in its queue: the sort is stable and remainders may be cheaper.
        order.sort_by(|&(qa, ia), &(qb, ib)| key(qa, ia).total_cmp(&key(qb, ib)));
        let taken = match p.stop {
            Stop::Below => take_in_order(queues, &order, budget),
            Stop::Nearest => take_nearest(queues, &order, budget),
        };
        Ok(Selected { taken, details: serde_json::Value::Null })
    }
}

/// Takes bundles (queue, position) in `order` while they fit; a bundle waits for those before it in its queue.
pub(crate) fn take_in_order(queues: &[Queue], order: &[(usize, usize)], budget: u64) -> Vec<usize> {
    take_more(queues, order, vec![0; queues.len()], budget)
}

/// The first bundles of `order` whose cost is nearest to `budget`.
fn take_nearest(queues: &[Queue], order: &[(usize, usize)], budget: u64) -> Vec<usize> {
    let (mut cost, mut best) = (0u64, (0, budget));
    for (n, &(q, i)) in order.iter().enumerate() {
        cost += queues[q][i].cost;
        if cost.abs_diff(budget) < best.1 {
            best = (n + 1, cost.abs_diff(budget));
        }
    }
    let mut taken = vec![0; queues.len()];
    order[..best.0].iter().for_each(|&(q, _)| taken[q] += 1);
    taken
}

/// The same as [`take_in_order`] on top of what was `taken`, with `left` weights of the budget.
pub(crate) fn take_more(
    queues: &[Queue],
    order: &[(usize, usize)],
    mut taken: Vec<usize>,
    mut left: u64,
) -> Vec<usize> {
    // Bundles that did not fit close their queue; each pass opens those that a later removal made reachable.
    loop {
        let before = left;
        for &(q, i) in order {
            let cost = queues[q][i].cost;
            if i == taken[q] && cost <= left {
                taken[q] += 1;
                left -= cost;
            }
        }
        if left == before {
            return taken;
        }
    }
}

#[cfg(test)]
mod tests {
    use oops_core::UnitKind;

    use super::*;
    use crate::bundle::{Bundle, Limits, bundles, testkit::*};

    fn run(s: &Scores, limits: &Limits, percent: u64) -> (u64, u64, Vec<usize>) {
        let queues = bundles(s, limits);
        let p: Params = serde_json::from_value(serde_json::json!({"remove_fraction": 0.0})).unwrap();
        let budget = s.info.dims.decoder_params() * percent / 100;
        let taken = Global::select(&p, s, &queues, budget).unwrap().taken;
        let spent = queues.iter().zip(&taken).flat_map(|(q, &t)| &q[..t]).map(|b| b.cost).sum();
        (budget, spent, taken)
    }

    #[test]
    fn the_budget_is_met_to_one_bundle() {
        for (unit, scale) in [(UnitKind::KvGroup, Scale::Damage), (UnitKind::QueryHead, Scale::Standardized)] {
            for percent in [0, 20, 30, 50] {
                let (budget, spent, _) = run(&scores(unit, scale), &LIMITS, percent);
                assert!(spent <= budget && budget - spent < 24, "{percent} %: {spent} of {budget}");
            }
        }
    }

    #[test]
    fn the_nearest_threshold_is_on_either_side_of_the_budget() {
        let bundle =
            |score: f64, cost: u64| Bundle { block: 0, kind: UnitKind::KvGroup, members: vec![0], cost, score };
        let queues = [vec![bundle(1.0, 100)], vec![bundle(0.0, 10), bundle(2.0, 10), bundle(3.0, 10)]];
        let order = [(1, 0), (0, 0), (1, 1), (1, 2)];
        for (budget, taken) in [(0, [0, 0]), (4, [0, 0]), (6, [0, 1]), (59, [0, 1]), (61, [1, 1]), (500, [1, 3])] {
            assert_eq!(take_nearest(&queues, &order, budget), taken, "{budget}");
        }
        assert_eq!(take_in_order(&queues, &order, 61), [0, 3], "what does not fit stays");
    }

    #[test]
    fn what_goes_scores_less_than_what_stays() {
        let s = scores(UnitKind::KvGroup, Scale::Standardized);
        let queues = bundles(&s, &LIMITS);
        let (_, _, taken) = run(&s, &LIMITS, 40);
        let ffn = |stays: bool| {
            let part = move |(q, t): (&Queue, &usize)| if stays { q[*t..].to_vec() } else { q[..*t].to_vec() };
            queues.iter().zip(&taken).skip(1).step_by(2).flat_map(part).map(|b| b.score).collect::<Vec<_>>()
        };
        let worst_kept = ffn(true).into_iter().fold(f64::MAX, f64::min);
        // All but the last few removals, which only fill the rest of the budget, are below the threshold.
        assert!(ffn(false).iter().filter(|&&s| s > worst_kept).count() <= 1);
    }
}
