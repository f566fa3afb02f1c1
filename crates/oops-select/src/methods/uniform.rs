//! `select.uniform`
//!
//! Every block loses the same fraction; inside a block, units go in order of score.
//! *Attention.* Of n bundles (KV groups) a block loses the nearest whole number to ρ·n, halves rounding down, unless
//! `attention_units` says how many. *FFN.* Gives the rest of the block's budget; what a block cannot spend is passed on
//! to the next, so that the whole misses its budget by less than one bundle.
//! *Same widths.* Where a target needs them, every block loses a attention and f FFN bundles, and only those pairs count
//! whose a is the nearest whole number to n times the fraction that they remove together (and, once all FFN bundles are
//! gone, larger a). Of these the plan is the largest within the budget: asking for more never removes less, but large
//! `channel_multiple`s leave few pairs, and the nearest may be far (`allow_miss`).
//! *Reference.* The allocation of Wanda-sp and of Magnitude-sp in FLAP's comparison (arXiv 2312.11983).

use oops_artifact::Scores;
use oops_core::{Fault, Result, bail_if};

use super::global::take_more;
use crate::{
    bundle::Queue,
    stage::{HasCommon, Selected, Selector, selection_params, spent},
};

selection_params! {
    /// Parameters of uniform selection.
    pub(crate) struct Params {
        /// Attention bundles that every block loses; default: the nearest to its share.
        #[serde(default)]
        attention_units: Option<usize>,
    }
}

pub(crate) struct Uniform;

impl Selector for Uniform {
    type Params = Params;
    const NAME: &'static str = "select.uniform";
    /// 2: with the same widths, the largest balanced plan within the budget; else what one block cannot spend, others do.
    const VERSION: u32 = 2;
    const ABOUT: &'static str = "the same fraction of every block, worst scores first";
    const SAME_WIDTHS: bool = true;

    fn select(p: &Params, scores: &Scores, queues: &[Queue], budget: u64) -> Result<Selected> {
        let taken = if p.common().demands(Self::SAME_WIDTHS).same_widths() {
            let pairs = pairs(scores, queues, p.attention_units)?;
            let within = pairs.into_iter().filter(|pair| pair.cost <= budget).max_by_key(|pair| pair.cost);
            within.unwrap_or_default().everywhere(scores)
        } else {
            let removed = vec![p.remove_fraction; scores.info.dims.blocks.len()];
            fill(scores, queues, &removed, p.attention_units, budget)?
        };
        Ok(Selected { taken, details: serde_json::Value::Null })
    }

    fn above(p: &Params, scores: &Scores, queues: &[Queue], taken: &[usize]) -> Option<u64> {
        let removed = spent(queues, taken);
        if p.common().demands(Self::SAME_WIDTHS).same_widths() {
            let pairs = pairs(scores, queues, p.attention_units).ok()?;
            return pairs.into_iter().map(|pair| pair.cost).filter(|cost| *cost > removed).min();
        }
        let fronts = queues.iter().zip(taken).enumerate();
        let fronts = fronts.filter(|(q, _)| q % 2 == 1 || p.attention_units.is_none());
        fronts.filter_map(|(_, (queue, &t))| Some(queue.get(t)?.cost + removed)).min()
    }
}

/// Bundles that every block loses.
#[derive(Clone, Copy, Debug, Default)]
struct Pair {
    attention: usize,
    ffn: usize,
    /// Weights that go from all blocks.
    cost: u64,
}

impl Pair {
    fn everywhere(self, scores: &Scores) -> Vec<usize> {
        [self.attention, self.ffn].repeat(scores.info.dims.blocks.len())
    }
}

/// The pairs that count, whatever the budget: attention has its share of what goes (or `fixed` bundles), or no FFN bundle
/// is left.
fn pairs(scores: &Scores, queues: &[Queue], fixed: Option<usize>) -> Result<Vec<Pair>> {
    let dims = &scores.info.dims;
    let [attention, ffn] = [0, 1].map(|kind| everywhere(queues, kind));
    let most = attention.len() - 1;
    if let Some(wanted) = fixed.filter(|wanted| *wanted > most) {
        return Err(cannot_lose(wanted, most));
    }
    let n = queues.first().map_or(0, |queue| attention_bundles(scores, 0, queue));
    let mut pairs = Vec::new();
    for (a, a_cost) in attention.iter().enumerate() {
        for (f, f_cost) in ffn.iter().enumerate() {
            let cost = a_cost + f_cost;
            let share = nearest(cost as f64 / dims.decoder_params() as f64, n).min(most);
            let counts = match fixed {
                Some(wanted) => a == wanted || (a < wanted && f == 0),
                None => a == share || (a > share && f + 1 == ffn.len()),
            };
            if counts {
                pairs.push(Pair { attention: a, ffn: f, cost });
            }
        }
    }
    Ok(pairs)
}

/// Weights that go when every block loses 0, 1, … bundles of a kind (0 attention, 1 FFN), as far as all blocks can.
fn everywhere(queues: &[Queue], kind: usize) -> Vec<u64> {
    let of_kind = || queues.iter().skip(kind).step_by(2);
    let most = of_kind().map(Vec::len).min().unwrap_or(0);
    (0..=most).map(|t| of_kind().flat_map(|queue| &queue[..t]).map(|b| b.cost).sum()).collect()
}

/// Attention bundles of block `l`, those that must stay included.
fn attention_bundles(scores: &Scores, l: usize, queue: &Queue) -> usize {
    let units = scores.info.attention_unit.count(&scores.info.dims.blocks[l]);
    units / queue.first().map_or(1, |b| b.members.len())
}

/// The whole number that is nearest to the fraction `rho` of `n`, halves rounding down.
fn nearest(rho: f64, n: usize) -> usize {
    (rho * n as f64 - 0.5).ceil().max(0.0) as usize
}

fn cannot_lose(wanted: usize, most: usize) -> Fault {
    Fault::config(format!("`attention_units` is {wanted}, but a block can lose {most}"))
        .help("lower `attention_units` or `min_attention`")
}

/// Takes the fraction `removed[l]` of each block l: the nearest number of attention bundles (halves rounding down, or
/// `attention_units`), then FFN bundles; the remainder is passed on to the next block.
pub(crate) fn fill(
    scores: &Scores,
    queues: &[Queue],
    removed: &[f64],
    attention_units: Option<usize>,
    budget: u64,
) -> Result<Vec<usize>> {
    let dims = &scores.info.dims;
    let mut taken = vec![0; queues.len()];
    let (mut spent, mut share) = (0u64, 0.0);
    for (l, rho) in removed.iter().enumerate() {
        share += rho * dims.block_params(l) as f64;
        // Rounded up to whole weights, so that the last block may spend the budget to the end.
        let limit = (share.ceil() as u64).min(budget);
        let attention = &queues[2 * l];
        let wanted = attention_units.unwrap_or_else(|| nearest(*rho, attention_bundles(scores, l, attention)));
        let too_many = attention_units.is_some() && wanted > attention.len();
        bail_if(too_many, || cannot_lose(wanted, attention.len()).at(format!("block {l}")))?;
        for (queue, most) in [(2 * l, wanted), (2 * l + 1, usize::MAX)] {
            for bundle in queues[queue].iter().take(most) {
                if spent + bundle.cost > limit {
                    break;
                }
                spent += bundle.cost;
                taken[queue] += 1;
            }
        }
    }
    Ok(spend_rest(queues, taken, attention_units.is_none(), budget - spent))
}

/// What the last blocks could not spend (nothing of them may go any more) goes from others: FFN bundles, evenly, and once
/// there are none, attention.
fn spend_rest(queues: &[Queue], taken: Vec<usize>, attention: bool, left: u64) -> Vec<usize> {
    let order = |kind: usize| {
        let queues = queues.iter().enumerate().skip(kind).step_by(2);
        let mut order: Vec<(usize, usize)> =
            queues.flat_map(|(q, queue)| (0..queue.len()).map(move |i| (q, i))).collect();
        order.sort_by_key(|&(q, i)| (i, q));
        order
    };
    let before = spent(queues, &taken);
    let taken = take_more(queues, &order(1), taken, left);
    let some_ffn = queues.iter().zip(&taken).skip(1).step_by(2).any(|(queue, t)| queue.len() > *t);
    let left = left - (spent(queues, &taken) - before);
    if some_ffn || !attention { taken } else { take_more(queues, &order(0), taken, left) }
}

#[cfg(test)]
mod tests {
    use oops_artifact::Scale;
    use oops_core::UnitKind;

    use super::*;
    use crate::bundle::{bundles, testkit::*};

    #[test]
    fn blocks_lose_equally_and_the_budget_is_met_to_one_bundle() {
        let s = scores(UnitKind::KvGroup, Scale::Damage);
        let queues = bundles(&s, &LIMITS);
        for percent in [0, 10, 20, 30, 50, 70] {
            let p: Params =
                serde_json::from_value(serde_json::json!({"remove_fraction": f64::from(percent) / 100.0})).unwrap();
            let budget = s.info.dims.decoder_params() * percent as u64 / 100;
            let taken = Uniform::select(&p, &s, &queues, budget).unwrap().taken;
            let spent: u64 = queues.iter().zip(&taken).flat_map(|(q, &t)| &q[..t]).map(|b| b.cost).sum();
            assert!(spent <= budget && budget - spent < 24, "{percent} %: {spent} of {budget}");
            assert!(taken.chunks(2).all(|c| c[0] == taken[0] && c[1].abs_diff(taken[1]) <= 1), "{taken:?}");
        }
    }

    #[test]
    fn a_target_that_needs_one_width_gets_it_within_one_bundle_per_block() {
        let s = scores(UnitKind::KvGroup, Scale::Damage);
        let queues = bundles(&s, &LIMITS);
        let p: Params = serde_json::from_value(serde_json::json!({"remove_fraction": 0.4, "targets": ["hf"]})).unwrap();
        let budget = s.info.dims.decoder_params() * 4 / 10;
        let taken = Uniform::select(&p, &s, &queues, budget).unwrap().taken;
        assert!(taken.chunks(2).all(|c| c == &taken[..2]), "{taken:?}");
        let spent: u64 = queues.iter().zip(&taken).flat_map(|(q, &t)| &q[..t]).map(|b| b.cost).sum();
        assert!(spent <= budget && budget - spent < 3 * 24, "{spent} of {budget}");
    }

    #[test]
    fn half_a_group_rounds_down() {
        // Of three groups, 50 % would be 1.5: one goes.
        let s = scores(UnitKind::KvGroup, Scale::Damage);
        let queues = bundles(&s, &LIMITS);
        let p: Params = serde_json::from_value(serde_json::json!({"remove_fraction": 0.5})).unwrap();
        let taken = Uniform::select(&p, &s, &queues, s.info.dims.decoder_params() / 2).unwrap().taken;
        assert_eq!(taken[0], 1);
    }
}
