//! A plan that misses its budget. Widths go in bundles, so that few fractions are met exactly; a plan that is further off
//! than the largest bundle and 1 % of its budget is not what was asked for.

use oops_artifact::{BlockScores, Scale, Scores, ScoresInfo};
use oops_core::{Fault, ModelDims, Result, UnitKind};

use crate::{
    bundle::{Limits, Queue, bundles},
    stage::{HasCommon as _, Selector, largest, spent},
};

/// Part of the budget that a plan may miss however small its bundles are.
const TOLERANCE: u64 = 100;

/// What a plan removes beside what was asked for, in weights of the decoder's linear layers.
pub(crate) struct Miss {
    /// The fraction that was asked for.
    pub(crate) asked: f64,
    /// Weights that may go.
    pub(crate) budget: u64,
    /// Weights that go.
    pub(crate) removed: u64,
    /// Weights that go by the next larger plan, if there is one.
    pub(crate) above: Option<u64>,
    /// Weights of the largest bundle.
    pub(crate) bundle: u64,
    /// All weights.
    pub(crate) all: u64,
}

impl Miss {
    /// Whether the plan is further off than a bundle and 1 % of the budget.
    pub(crate) fn is_far(&self) -> bool {
        self.budget.saturating_sub(self.removed) > self.bundle.max(self.budget / TOLERANCE)
    }

    /// The warning, where a miss is allowed; otherwise it is an error.
    pub(crate) fn allowed(&self, allowed: bool) -> Result<String> {
        let percent = |weights: u64| 100.0 * weights as f64 / self.all.max(1) as f64;
        let nearest = match self.above {
            Some(above) => format!("{} and {}", self.reached_by(self.removed), self.reached_by(above)),
            None => format!("{}, no more can go", self.reached_by(self.removed)),
        };
        let what = format!(
            "`remove_fraction` asks for {:.2} % of the decoder's linear weights, but {:.2} % go: nearest fractions that can \
             be reached: {nearest}",
            100.0 * self.asked,
            percent(self.removed),
        );
        if allowed {
            return Ok(what);
        }
        Err(Fault::config(what).help(
            "ask for one of them, lower `channel_multiple`, `min_attention` or `min_multiples`, leave a target out, or set \
             `allow_miss: true`",
        ))
    }

    /// The shortest `remove_fraction` whose budget is so many weights: rounded further up it might be more than can go.
    fn reached_by(&self, weights: u64) -> f64 {
        let all = self.all.max(1) as f64;
        let of_digits = |digits: i32| (10_f64.powi(digits) * weights as f64 / all).ceil() / 10_f64.powi(digits);
        let exact = |fraction: &f64| (fraction * all).floor() as u64 == weights;
        (1..16).map(of_digits).find(exact).unwrap_or(weights as f64 / all)
    }
}

/// How a method misses its budget, if it is far off.
pub(crate) fn missed<S: Selector>(
    params: &S::Params,
    scores: &Scores,
    queues: &[Queue],
    taken: &[usize],
) -> Option<Miss> {
    let dims = &scores.info.dims;
    let common = params.common();
    let miss = Miss {
        asked: common.remove_fraction,
        budget: common.budget(dims),
        removed: spent(queues, taken),
        above: S::above(params, scores, queues, taken),
        bundle: largest(queues),
        all: dims.decoder_params(),
    };
    miss.is_far().then_some(miss)
}

/// What a method that gives all blocks the same widths misses whatever the scores are: units that scores protect only make
/// it worse. Of which unit they will be is not known; a miss is sure if it is one for both.
pub(crate) fn sure_to_miss<S: Selector>(params: &S::Params, dims: &ModelDims, limits: &Limits) -> Option<Miss> {
    let mut last = None;
    for unit in [UnitKind::QueryHead, UnitKind::KvGroup] {
        let scores = equal(dims, unit);
        let queues = bundles(&scores, limits);
        // What cannot be selected at all fails with the scores that there will be.
        let taken = S::select(params, &scores, &queues, params.common().budget(dims)).ok()?.taken;
        last = Some(missed::<S>(params, &scores, &queues, &taken)?);
    }
    last
}

/// Scores of which all are the same.
fn equal(dims: &ModelDims, attention_unit: UnitKind) -> Scores {
    let block = |b| BlockScores::plain(vec![0.0; attention_unit.count(b)], vec![0.0; b.ffn]);
    let blocks = dims.blocks.iter().map(block).collect();
    let (method, scale, dims) = (String::new(), Scale::Damage, dims.clone());
    Scores { info: ScoresInfo { method, scale, attention_unit, dims, outlier_share: None }, blocks }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_miss_is_far_beyond_a_bundle_and_a_hundredth_of_the_budget() {
        let miss = |removed| Miss { asked: 0.3, budget: 3000, removed, above: Some(3334), bundle: 20, all: 10_000 };
        assert!(!miss(2970).is_far() && miss(2969).is_far());
        assert!(!Miss { bundle: 31, ..miss(2969) }.is_far());
        let fault = miss(1667).allowed(false).unwrap_err();
        assert!(fault.what().ends_with("30.00 % of the decoder's linear weights, but 16.67 % go: nearest fractions that can be reached: 0.1667 and 0.3334"), "{fault}");
        assert!(fault.help_text().unwrap().contains("allow_miss"));
        let exact = Miss { all: 2_433_024, ..miss(0) };
        assert!((exact.reached_by(884_736) - 0.363_636_4).abs() < 1e-12, "{}", exact.reached_by(884_736));
        assert!(Miss { above: None, ..miss(0) }.allowed(true).unwrap().ends_with("reached: 0, no more can go"));
    }
}
