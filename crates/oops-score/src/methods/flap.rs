//! `score.flap` (WIFV)
//!
//! *What it measures.* Fluctuation: how much of a channel's output a constant (the mean, folded into a bias) could
//! not replace.
//! *Formula.* Channel j of a site: f_j = Var(X_j)·‖W_j‖₂², W_j the site's column; at the attention site f_j², as the authors'
//! code has it (the paper does not). Standardised per block and site, s_j = (f_j − centre)/spread, with mean and standard
//! deviation (n − 1 in the denominator) or, robust to outlier channels, median and MAD; attention units: mean over
//! their channels.
//! *Unit.* Standard deviations, comparable across blocks. *Needs.* Means and second moments.
//! *When it misleads.* A few outlier channels inflate the standard deviation, and the rest of the block looks alike:
//! the median/MAD form repairs that.
//! *Beside the authors' code* (commit 3bb57db, structure AL-AM). The same: the square at the attention site, the standard
//! deviation, one threshold over both sites. It leaves out the first calibration sequence in the variances and weighs a
//! head by 512/3 channels, the ratio of LLaMA-7B; here all sequences count, and `select.global` knows what every unit
//! costs. It stops where the removed share is nearest to the target, as `select.global` does with `stop: nearest`.
//! *Reference.* An et al., FLAP, AAAI 2024 (arXiv 2312.11983).

use oops_artifact::{BlockScores, Scale};
use oops_core::{Result, Rng, Site, UnitKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    BlockView, Scorer,
    stage::Needs,
    units::{mean, standardize},
};

/// How scores of a block and site are brought to one scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Standardize {
    /// (x − mean) / standard deviation, as published.
    MeanStd,
    /// (x − median) / (1.4826 · median absolute deviation), robust to outlier channels.
    MedianMad,
}

/// What is standardised at the attention site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AttentionMetric {
    /// f_j², as in the authors' code.
    Squared,
    /// f_j, as in the paper.
    Plain,
}

/// Parameters of FLAP.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Params {
    /// Attention units that are scored: `kv_group` or `query_head`.
    attention_unit: UnitKind,
    /// `mean_std` (as published) or `median_mad`.
    standardize: Standardize,
    /// `squared` (as in the authors' code) or `plain` (as in the paper).
    attention_metric: AttentionMetric,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            attention_unit: UnitKind::KvGroup,
            standardize: Standardize::MeanStd,
            attention_metric: AttentionMetric::Squared,
        }
    }
}

pub(crate) struct Flap;

impl Scorer for Flap {
    type Params = Params;
    const NAME: &'static str = "score.flap";
    const VERSION: u32 = 2;
    const ABOUT: &'static str = "FLAP: variance times squared weight norm, standardised per block and site";
    const NEEDS: Needs = Needs::STATS;
    const SCALE: Scale = Scale::Standardized;

    fn attention_unit(params: &Params) -> UnitKind {
        params.attention_unit
    }

    fn score(params: &Params, view: &BlockView<'_>, _: &mut Rng) -> Result<BlockScores> {
        let channels = |site: Site| -> Result<Vec<f64>> {
            let stats = view.stats(site);
            let squares = view.column_squares(site)?;
            let squared = site == Site::AttnOut && params.attention_metric == AttentionMetric::Squared;
            let power = if squared { 2 } else { 1 };
            let raw: Vec<f64> =
                squares.iter().enumerate().map(|(j, w2)| (stats.variance(j) * w2).powi(power)).collect();
            Ok(standardize(&raw, params.standardize == Standardize::MedianMad))
        };
        let attention = view.units(params.attention_unit, &channels(Site::AttnOut)?, mean);
        Ok(BlockScores::plain(attention, channels(Site::MlpDown)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::testkit::tiny;

    #[test]
    fn fluctuation_by_hand() {
        let t = tiny();
        let s = Flap::score(&Params::default(), &t.view(), &mut Rng::new(0, "")).unwrap();
        // Variances 3, 1, 4 times column squares 17, 29, 45: 51, 29, 180; mean 86.67, standard deviation 81.6.
        let raw = [51.0, 29.0, 180.0f64];
        let m = raw.iter().sum::<f64>() / 3.0;
        let sd = (raw.iter().map(|r| (r - m).powi(2)).sum::<f64>() / 2.0).sqrt();
        assert!(s.ffn.score.iter().zip(raw).all(|(s, r)| (s - (r - m) / sd).abs() < 1e-9), "{:?}", s.ffn);
    }

    #[test]
    fn only_attention_is_squared_before_it_is_standardised() {
        let t = tiny();
        let with = |metric: &str| {
            let params = serde_json::from_value(serde_json::json!({ "attention_metric": metric })).unwrap();
            Flap::score(&params, &t.view(), &mut Rng::new(0, "")).unwrap()
        };
        let (squared, plain) = (with("squared"), with("plain"));
        assert_eq!(squared.ffn.score, plain.ffn.score);
        let view = t.view();
        let of = |j: usize| view.stats(Site::AttnOut).variance(j) * view.column_squares(Site::AttnOut).unwrap()[j];
        let by_hand = |power: i32| -> Vec<f64> {
            let raw: Vec<f64> = (0..view.dims.width(Site::AttnOut)).map(|j| of(j).powi(power)).collect();
            view.units(UnitKind::KvGroup, &standardize(&raw, false), mean)
        };
        assert_eq!((squared.attention.score, plain.attention.score), (by_hand(2), by_hand(1)));
    }
}
