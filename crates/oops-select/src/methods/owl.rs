//! `select.owl`
//!
//! Blocks with more outlier weights keep more: block l keeps u0_l = (1 − ρ) + λ·(2·(LOD_l − min)/(max − min) − 1), centred so
//! that the budget is met exactly; inside a block as `select.uniform` does.
//! *Beside the authors' code* (`prune_wanda_outlier`). The same range of 2λ and the same centring. It counts outliers over all
//! seven projections of a block beside one mean of all, we over o and down beside the mean of each, since only the inputs of
//! these two are measured; it prunes single weights, we whole units; its M is 5 or 7, ours a parameter of the score.
//! *Reference.* Yin et al., OWL, ICML 2024 (arXiv 2310.05175), λ = 0.08.

use oops_artifact::Scores;
use oops_core::{Result, bail_if};

use crate::{
    bundle::Queue,
    prior,
    stage::{Selected, Selector, selection_params},
};

selection_params! {
    /// Parameters of OWL's allocation.
    pub(crate) struct Params {
        /// λ of OWL: how far a block's kept fraction may be from the mean.
        #[serde(default = "prior::owl_lambda")]
        owl_lambda: f64,
    }
}

pub(crate) struct Owl;

impl Selector for Owl {
    type Params = Params;
    const NAME: &'static str = "select.owl";
    /// 2: what the last blocks cannot spend, others do.
    const VERSION: u32 = 2;
    const ABOUT: &'static str = "blocks with more outlier weights keep more (OWL)";

    fn select(p: &Params, scores: &Scores, queues: &[Queue], budget: u64) -> Result<Selected> {
        bail_if(scores.info.outlier_share.is_none(), || prior::no_outlier_share(&scores.info.method))?;
        let kept = prior::owl(scores, 1.0 - p.remove_fraction, p.owl_lambda);
        let removed: Vec<f64> = kept.iter().map(|u| 1.0 - u).collect();
        Ok(Selected { taken: super::uniform::fill(scores, queues, &removed, None, budget)?, details: kept.into() })
    }
}

#[cfg(test)]
mod tests {
    use oops_artifact::Scale;
    use oops_core::UnitKind;

    use super::*;
    use crate::bundle::{bundles, testkit::*};

    #[test]
    fn the_block_with_most_outliers_keeps_most_and_the_budget_holds() {
        let mut s = scores(UnitKind::KvGroup, Scale::Damage);
        s.info.outlier_share = Some(vec![0.01, 0.05, 0.02]);
        let queues = bundles(&s, &LIMITS);
        let p: Params = serde_json::from_value(serde_json::json!({"remove_fraction": 0.4})).unwrap();
        let budget = s.info.dims.decoder_params() * 4 / 10;
        let taken = Owl::select(&p, &s, &queues, budget).unwrap().taken;
        let gone = |l: usize| -> u64 { (2 * l..2 * l + 2).flat_map(|q| &queues[q][..taken[q]]).map(|b| b.cost).sum() };
        assert!(gone(0) >= gone(2) && gone(2) > gone(1), "{taken:?}");
        let total: u64 = (0..3).map(gone).sum();
        assert!(total <= budget && budget - total < 24);
    }
}
