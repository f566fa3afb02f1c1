//! `score.flap` (WIFV)
//!
//! *What it measures.* Fluctuation: how much of a channel's output a constant (the mean, folded into a bias) could
//! not replace.
//! *Formula.* Channel j of a site: f_j = Var(X_j)·‖W_j‖₂², W_j the site's column; standardised per block and site,
//! s_j = (f_j − centre)/spread, with mean and standard deviation or, robust to outlier channels, median and MAD;
//! attention units: mean over their channels.
//! *Unit.* Standard deviations, comparable across blocks. *Needs.* Means and second moments.
//! *When it misleads.* A few outlier channels inflate the standard deviation, and the rest of the block looks alike:
//! the median/MAD form repairs that.
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

/// Parameters of FLAP.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Params {
    /// Attention units that are scored: `kv_group` or `query_head`.
    attention_unit: UnitKind,
    /// `mean_std` (as published) or `median_mad`.
    standardize: Standardize,
}

impl Default for Params {
    fn default() -> Self {
        Self { attention_unit: UnitKind::KvGroup, standardize: Standardize::MeanStd }
    }
}

pub(crate) struct Flap;

impl Scorer for Flap {
    type Params = Params;
    const NAME: &'static str = "score.flap";
    const VERSION: u32 = 1;
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
            let raw: Vec<f64> = squares.iter().enumerate().map(|(j, w2)| stats.variance(j) * w2).collect();
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
        // Variances 3, 1, 4 times column squares 17, 29, 45: 51, 29, 180; mean 86.67, standard deviation 66.6.
        let raw = [51.0, 29.0, 180.0f64];
        let m = raw.iter().sum::<f64>() / 3.0;
        let sd = (raw.iter().map(|r| (r - m).powi(2)).sum::<f64>() / 3.0).sqrt();
        assert!(s.ffn.score.iter().zip(raw).all(|(s, r)| (s - (r - m) / sd).abs() < 1e-9), "{:?}", s.ffn);
    }
}
