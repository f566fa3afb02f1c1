//! `score.wanda` (Wanda-sp)
//!
//! *What it measures.* Mean magnitude of what a channel adds to the output, weight times activation norm.
//! *Formula.* Channel j of a site: s_j = mean_i |W_ij| · ‖X_j‖₂ / √T, with W (out × in) the site's projection and
//! ‖X_j‖₂/√T = √E\[x_j²\] over the calibration tokens; attention units: sum over their channels.
//! *Unit.* Output activation. *Needs.* Second moments.
//! *When it misleads.* Magnitudes differ between blocks by orders, so it only ranks within a block (`select.uniform`).
//! *Beside the authors' code* (FLAP's repository, commit 3bb57db, `prune_wanda_sp`). The same score and sums over heads. It
//! measures every block on what the blocks pruned before it put out, we measure all on the dense model, from the one
//! calibration that all methods share; and it cuts the same share of heads and of channels in every block, which
//! `select.uniform` does as far as whole KV groups allow.
//! *Reference.* Sun et al. 2023 (arXiv 2306.11695); structured form as in FLAP's comparison (arXiv 2312.11983).

use oops_artifact::{BlockScores, Scale};
use oops_core::{Result, Rng, Site, UnitKind};

use crate::{BlockView, Scorer, Shared, stage::Needs, units::sum};

pub(crate) struct Wanda;

impl Scorer for Wanda {
    type Params = Shared;
    const NAME: &'static str = "score.wanda";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "Wanda-sp: mean |weight| times activation norm";
    const NEEDS: Needs = Needs::STATS;
    const SCALE: Scale = Scale::Damage;

    fn attention_unit(params: &Shared) -> UnitKind {
        params.attention_unit
    }

    fn score(params: &Shared, view: &BlockView<'_>, _: &mut Rng) -> Result<BlockScores> {
        let channels = |site: Site| -> Result<Vec<f64>> {
            let weights = view.column_abs_means(site)?;
            Ok(weights.iter().zip(&view.stats(site).second).map(|(w, x2)| w * x2.sqrt()).collect())
        };
        let attention = view.units(params.attention_unit, &channels(Site::AttnOut)?, sum);
        Ok(BlockScores::plain(attention, channels(Site::MlpDown)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::testkit::tiny;

    #[test]
    fn weight_times_activation_norm_by_hand() {
        let t = tiny();
        let s = Wanda::score(&Shared::default(), &t.view(), &mut Rng::new(0, "")).unwrap();
        // down column 0 is (1, 4): mean 2.5; E[x²] = 4 → 5.
        assert!((s.ffn.score[0] - 5.0).abs() < 1e-9, "{:?}", s.ffn);
        // o column 1 is (2, 4): mean 3; E[x²] = 1 → 3.
        assert!((s.attention.score[1] - 3.0).abs() < 1e-9, "{:?}", s.attention);
    }
}
