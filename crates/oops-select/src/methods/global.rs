//! `select.global`
//!
//! One threshold over the whole model: bundles go in order of score until the budget is spent, whatever block they
//! are in. Standardised scores (FLAP) are compared as they are, damages per weight that they free (score / cost), the
//! continuous knapsack's greedy order; `rank_by` overrides.
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

selection_params! {
    /// Parameters of global selection.
    pub(crate) struct Params {
        /// `auto`, `score` or `score_per_cost`.
        #[serde(default = "auto")]
        rank_by: RankBy,
    }
}

fn auto() -> RankBy {
    RankBy::Auto
}

pub(crate) struct Global;

impl Selector for Global {
    type Params = Params;
    const NAME: &'static str = "select.global";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "one threshold over all blocks";

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
        Ok(Selected { taken: take_in_order(queues, &order, budget), details: serde_json::Value::Null })
    }
}

/// Takes bundles (queue, position) in `order` while they fit; a bundle waits for those before it in its queue.
pub(crate) fn take_in_order(queues: &[Queue], order: &[(usize, usize)], budget: u64) -> Vec<usize> {
    take_more(queues, order, vec![0; queues.len()], budget)
}

/// The same on top of what was `taken`, with `left` weights of the budget.
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
    use crate::bundle::{Limits, bundles, testkit::*};

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
