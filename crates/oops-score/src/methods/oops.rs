//! `score.oops`
//!
//! *What it measures.* How much the loss grows if the unit goes, twice: as the loss's gradients say of the unit as it is
//! (Fisher), and as they say of what no other channel of its module makes up for when the unit's turn comes (`score.kfac`).
//! Outlier channels are protected.
//! *Formula.* score = rank = √(F·K), F = Σ_b g² (see `score.fisher`), K the cost of `score.kfac`. Protected: FFN channels
//! with E\[x²\] > M²·median or max|x| > τ·median of their site, at most `protect_fraction` of the block's, and the attention
//! units that own such a channel if fewer than half of them do.
//! With statistics it also states OWL's share of outlier weights per block, which `select.qp` takes as prior.
//! *Needs.* Gradients, curvature, Gram matrices, moments; with `between: fisher` and a `rank` without kfac no curvature. Every part
//! is a switch, so every part can be ablated.
//! *When it misleads.* Gradients on text of another domain. *Reference.* The outlier-aware selection of OOPS (Wei et al.,
//! Neural Networks 196, 2025), of which only the abstract is public; the combination is ours.

use oops_artifact::{BlockScores, Scale, UnitScores};
use oops_core::{Fault, Result, Rng, Site, UnitKind, bail_if};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{BlockView, Scorer, outliers, stage::Needs, units::by_median};

/// What orders the units inside a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Rank {
    /// Geometric mean of Fisher and `score.kfac`.
    FisherKfac,
    /// Geometric mean of Fisher and OBS, each over its median.
    FisherObs,
    /// Fisher alone.
    Fisher,
    /// `score.kfac` alone.
    Kfac,
    /// OBS alone.
    Obs,
}

/// What compares units of different blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Between {
    /// Geometric mean of Fisher and `score.kfac`.
    FisherKfac,
    /// Fisher alone.
    Fisher,
    /// `score.kfac` alone.
    Kfac,
}

/// Parameters of OOPS.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Params {
    /// Attention units that are scored: `kv_group` or `query_head`.
    attention_unit: UnitKind,
    /// λ of `kfac` and OBS, relative to the mean of diag H.
    damping: f64,
    /// μ of `kfac`, relative to the mean of diag G.
    metric_damping: f64,
    /// Score between blocks: `fisher_kfac`, `fisher` or `kfac`.
    between: Between,
    /// Order inside a block: `fisher_kfac`, `fisher_obs`, `fisher`, `kfac` or `obs`.
    rank: Rank,
    /// Protect outlier channels.
    protect_outliers: bool,
    /// M: an outlier's E\[x²\] exceeds M² times the median of its site.
    outlier_rms: f64,
    /// τ: an outlier's max|x| exceeds τ times the median of its site.
    outlier_peak: f64,
    /// A channel writes a massive dimension of the residual stream if its largest contribution there is at least this
    /// fraction of the stream's maximum behind the block; above 1 protects no writers.
    writer_share: f64,
    /// Largest fraction of a block's channels that is protected.
    protect_fraction: f64,
    /// M of OWL: a weight is an outlier if |W|·‖X‖ exceeds M times its projection's mean.
    owl_multiple: f64,
}

impl Params {
    /// Whether anything is scored by `score.kfac`.
    fn eliminates(&self) -> bool {
        self.between != Between::Fisher || matches!(self.rank, Rank::FisherKfac | Rank::Kfac)
    }
}

impl Default for Params {
    fn default() -> Self {
        Self {
            attention_unit: UnitKind::KvGroup,
            damping: 1e-3,
            metric_damping: 1e-2,
            between: Between::FisherKfac,
            rank: Rank::FisherKfac,
            protect_outliers: true,
            outlier_rms: 5.0,
            outlier_peak: 100.0,
            writer_share: 0.1,
            protect_fraction: 0.01,
            owl_multiple: 5.0,
        }
    }
}

pub(crate) struct Oops;

impl Scorer for Oops {
    type Params = Params;
    const NAME: &'static str = "score.oops";
    const VERSION: u32 = 3;
    const ABOUT: &'static str = "loss as gradients see it and after the best repair, outlier channels protected";
    const SCALE: Scale = Scale::Damage;
    const NEEDS: Needs = Needs { stats: true, gram: true, gradients: true, curvature: true };

    fn needs(p: &Params) -> Needs {
        let curvature = p.eliminates();
        Needs { curvature, gram: curvature || matches!(p.rank, Rank::FisherObs | Rank::Obs), ..Self::NEEDS }
    }

    fn attention_unit(params: &Params) -> UnitKind {
        params.attention_unit
    }

    fn check(p: &Params) -> Result<()> {
        bail_if(!(0.0..=0.5).contains(&p.protect_fraction), || Fault::config("`protect_fraction` must be in 0…0.5"))?;
        bail_if(p.writer_share.is_nan() || p.writer_share <= 0.0, || Fault::config("`writer_share` must be above 0"))
    }

    fn score(p: &Params, view: &BlockView<'_>, _: &mut Rng) -> Result<BlockScores> {
        let part = |kind: UnitKind| -> Result<UnitScores> {
            let fisher = &view.gradients(kind.site()).squares;
            let kfac = if p.eliminates() { view.eliminated(kind, p.damping, p.metric_damping)? } else { Vec::new() };
            let score = match p.between {
                Between::FisherKfac => geometric(fisher, &kfac),
                Between::Fisher => fisher.clone(),
                Between::Kfac => kfac.clone(),
            };
            let rank = match p.rank {
                Rank::FisherKfac => geometric(fisher, &kfac),
                Rank::FisherObs => geometric(&by_median(fisher), &by_median(&view.obs(kind, p.damping)?)),
                Rank::Fisher => fisher.clone(),
                Rank::Kfac => kfac,
                Rank::Obs => view.obs(kind, p.damping)?,
            };
            Ok(UnitScores { protected: protected(p, view, kind)?, rank, score })
        };
        Ok(BlockScores { attention: part(p.attention_unit)?, ffn: part(UnitKind::FfnChannel)? })
    }

    fn outlier_share(p: &Params, view: &BlockView<'_>) -> Result<Option<f64>> {
        outliers::share(view, p.owl_multiple).map(Some)
    }
}

/// √(a·b), entry by entry.
fn geometric(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| (a * b).sqrt()).collect()
}

fn protected(p: &Params, view: &BlockView<'_>, kind: UnitKind) -> Result<Vec<bool>> {
    let mut out = vec![false; kind.count(view.dims)];
    if !p.protect_outliers {
        return Ok(out);
    }
    let site = kind.site();
    let most = (p.protect_fraction * view.dims.width(site) as f64).floor() as usize;
    let loud = outliers::channels(view.stats(site), p.outlier_rms, p.outlier_peak);
    let writers = outliers::writers(view, site, p.writer_share)?;
    let found = outliers::loudest(view.stats(site), loud.into_iter().chain(writers), most);
    let width = view.dims.width(Site::AttnOut).checked_div(out.len()).unwrap_or(1).max(1);
    let owner = |channel: usize| if kind == UnitKind::FfnChannel { channel } else { channel / width };
    found.iter().for_each(|&j| out[owner(j)] = true);
    // Few and large units: protecting most of them would leave nothing to choose.
    if kind != UnitKind::FfnChannel && 2 * out.iter().filter(|&&x| x).count() >= out.len() {
        out.fill(false);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::testkit::tiny;

    fn scores(p: &Params) -> UnitScores {
        Oops::score(p, &tiny().view(), &mut Rng::new(0, "")).unwrap().ffn
    }

    fn near(found: &[f64], expected: [f64; 3]) {
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9 * b), "{found:?} {expected:?}");
    }

    #[test]
    fn score_and_rank_are_the_geometric_mean_of_fisher_and_kfac() {
        let s = scores(&Params { damping: 0.0, metric_damping: 0.0, ..Params::default() });
        // Fisher 9, 1, 4; kfac 130, 52, 382.5 (its own test says why).
        let expected = [1170.0f64, 52.0, 1530.0].map(f64::sqrt);
        near(&s.score, expected);
        near(&s.rank, expected);
    }

    #[test]
    fn each_part_can_stand_alone() {
        let p = Params { damping: 0.0, metric_damping: 0.0, ..Params::default() };
        let s = scores(&Params { between: Between::Fisher, rank: Rank::FisherObs, ..p });
        // Fisher over its median 4, OBS 34, 14.5, 112.5 over its median 34.
        near(&s.rank, [9.0 / 4.0f64, 14.5 / 4.0 / 34.0, 112.5 / 34.0].map(f64::sqrt));
        assert_eq!(s.score, [9.0, 1.0, 4.0]);
        let s = scores(&Params { between: Between::Kfac, rank: Rank::Obs, ..p });
        near(&s.score, [130.0, 52.0, 382.5]);
        near(&s.rank, [34.0, 14.5, 112.5]);
    }

    #[test]
    fn each_combination_needs_what_it_reads() {
        let between = [Between::FisherKfac, Between::Fisher, Between::Kfac];
        let rank = [Rank::FisherKfac, Rank::FisherObs, Rank::Fisher, Rank::Kfac, Rank::Obs];
        for (between, rank) in between.into_iter().flat_map(|b| rank.map(|r| (b, r))) {
            let p = Params { between, rank, ..Params::default() };
            let score = |needs: Needs| {
                let tiny = tiny();
                let mut view = tiny.view();
                if !needs.curvature {
                    view.curvature = [None, None];
                }
                if !needs.gram {
                    view.grams = [None, None];
                }
                Oops::score(&p, &view, &mut Rng::new(0, ""))
            };
            let needs = Oops::needs(&p);
            assert!(score(needs).is_ok(), "{between:?} {rank:?}");
            assert!(!needs.curvature || score(Needs { curvature: false, ..needs }).is_err(), "{between:?} {rank:?}");
            assert!(!needs.gram || score(Needs { gram: false, ..needs }).is_err(), "{between:?} {rank:?}");
        }
    }
}
