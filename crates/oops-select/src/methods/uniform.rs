//! `select.uniform`
//!
//! Every block loses the same fraction; inside a block, units go in order of score.
//! *Attention.* Of n bundles (KV groups) a block loses the nearest whole number to ρ·n, halves rounding down, unless
//! `attention_units` says how many. *FFN.* Gives the rest of the block's budget; what a block cannot spend is passed on
//! to the next, so that the whole misses its budget by less than one bundle. Where a target needs the same widths in every
//! block, nothing is passed on and the block that can lose least decides: the budget is missed by less than one bundle per
//! block (more where protected units stay).
//! *Reference.* The allocation of Wanda-sp and of Magnitude-sp in FLAP's comparison (arXiv 2312.11983).

use oops_artifact::Scores;
use oops_core::{Fault, Result, bail_if};

use crate::{
    bundle::Queue,
    stage::{HasCommon, Selected, Selector, selection_params},
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
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "the same fraction of every block, worst scores first";
    const SAME_WIDTHS: bool = true;

    fn select(p: &Params, scores: &Scores, queues: &[Queue], budget: u64) -> Result<Selected> {
        let removed = vec![p.remove_fraction; scores.info.dims.blocks.len()];
        let mut taken = fill(scores, queues, &removed, p.attention_units, budget)?;
        if p.common().demands(Self::SAME_WIDTHS).same_widths() {
            same_everywhere(&mut taken);
        }
        Ok(Selected { taken, details: serde_json::Value::Null })
    }
}

/// Every block loses as many bundles of each kind as the one that loses fewest.
fn same_everywhere(taken: &mut [usize]) {
    for kind in 0..2 {
        let fewest = taken.iter().skip(kind).step_by(2).copied().min().unwrap_or(0);
        taken.iter_mut().skip(kind).step_by(2).for_each(|t| *t = fewest);
    }
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
        let units = scores.info.attention_unit.count(&dims.blocks[l]);
        let per_bundle = attention.first().map_or(1, |b| b.members.len());
        let nearest = (rho * (units / per_bundle) as f64 - 0.5).ceil().max(0.0) as usize;
        let wanted = attention_units.unwrap_or(nearest);
        bail_if(attention_units.is_some() && wanted > attention.len(), || {
            Fault::config(format!("`attention_units` is {wanted}, but block {l} can lose {}", attention.len()))
        })?;
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
    Ok(taken)
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
