//! `score.obs`
//!
//! *What it measures.* How much a module's output error grows if the unit goes and everything else repairs it as well as
//! it can.
//! *Formula.* ½ tr(W_gᵀ (((H + λmI)⁻¹)_gg)⁻¹ W_g) for a group g of channels, ½‖W_j‖²/((H + λmI)⁻¹)_jj for one; W the site's
//! projection, H = XᵀX/T, m = mean diag H.
//! *Unit.* Squared output activation: comparable inside a block, not between blocks, whose outputs differ in scale.
//! *Needs.* Gram matrices.
//! *When it misleads.* Globally: it does not know how much a block's output matters (`score.fisher` does).
//! *Beside the authors' code.* ZipLM's structured score with all units scored at once from one inverse; ZipLM removes one
//! unit at a time and updates inverse and weights after each (`reconstruct.obs` does that for the weights), and picks widths
//! per block from measured latencies, where we spend a budget of weights. OSSCAR scores in the same way in every round.
//! *Reference.* Hassibi & Stork 1992; for structures Kurtic et al., ZipLM (arXiv 2302.04089).

use oops_artifact::{BlockScores, Scale};
use oops_core::{Result, Rng, UnitKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{BlockView, Scorer, stage::Needs};

/// Parameters of OBS.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Params {
    /// Attention units that are scored: `kv_group` or `query_head`.
    attention_unit: UnitKind,
    /// λ, relative to the mean of diag H.
    damping: f64,
}

impl Default for Params {
    fn default() -> Self {
        Self { attention_unit: UnitKind::KvGroup, damping: 1e-3 }
    }
}

pub(crate) struct Obs;

impl Scorer for Obs {
    type Params = Params;
    const NAME: &'static str = "score.obs";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "optimal brain surgeon: output error after the best repair, per module";
    const SCALE: Scale = Scale::Damage;
    const NEEDS: Needs = Needs { stats: true, gram: true, ..Needs::NOTHING };

    fn attention_unit(params: &Params) -> UnitKind {
        params.attention_unit
    }

    fn score(params: &Params, view: &BlockView<'_>, _: &mut Rng) -> Result<BlockScores> {
        let attention = view.obs(params.attention_unit, params.damping)?;
        Ok(BlockScores::plain(attention, view.obs(UnitKind::FfnChannel, params.damping)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::testkit::tiny;

    #[test]
    fn with_a_diagonal_gram_it_is_half_the_energy_that_goes() {
        let p = Params { damping: 0.0, ..Params::default() };
        let s = Obs::score(&p, &tiny().view(), &mut Rng::new(0, "")).unwrap();
        // Column squares of down 17, 29, 45 times H_jj 4, 1, 5, halved.
        let expected = [34.0, 14.5, 112.5];
        assert!(s.ffn.score.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9), "{:?}", s.ffn.score);
    }
}
