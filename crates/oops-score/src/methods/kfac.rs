//! `score.kfac`
//!
//! *What it measures.* How much the loss grows when the unit's turn comes to go, after the rest has repaired what went
//! before and repairs this: the optimal brain surgeon with a Kronecker-factored Fisher matrix for the curvature.
//! *Formula.* ½ tr(V_gᵀ ((A⁻¹)_gg)⁻¹ V_g G), A = H + λmI, H = XᵀX/T at the site, G = Σ_t y_t y_tᵀ/T + μm'I with y_t the
//! loss's gradient at the output of the site's projection, V its weights as repaired so far; units of one kind in one block go
//! cheapest first.
//! *Unit.* Loss per token: comparable across the whole model. *Needs.* Gram matrices, curvature.
//! *When it misleads.* It takes activations and gradients for independent; what one block loses another does not know.
//! *Reference.* The curvature of van der Ouderaa et al., The LLM Surgeon (arXiv 2312.17244), after Martens & Grosse (arXiv
//! 1503.05671); backward elimination as in Kurtic et al., ZipLM (arXiv 2302.04089).

use oops_artifact::{BlockScores, Scale};
use oops_core::{Result, Rng, UnitKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{BlockView, Scorer, stage::Needs};

/// Parameters of OBS with Kronecker-factored curvature.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Params {
    /// Attention units that are scored: `kv_group` or `query_head`.
    attention_unit: UnitKind,
    /// λ, relative to the mean of diag H.
    damping: f64,
    /// μ, relative to the mean of diag G; large values measure all outputs alike.
    metric_damping: f64,
}

impl Default for Params {
    fn default() -> Self {
        Self { attention_unit: UnitKind::KvGroup, damping: 1e-3, metric_damping: 1e-2 }
    }
}

pub(crate) struct Kfac;

impl Scorer for Kfac {
    type Params = Params;
    const NAME: &'static str = "score.kfac";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "loss after the best repair, unit by unit, with Kronecker-factored curvature";
    const SCALE: Scale = Scale::Damage;
    const NEEDS: Needs = Needs { stats: true, gram: true, curvature: true, ..Needs::NOTHING };

    fn attention_unit(params: &Params) -> UnitKind {
        params.attention_unit
    }

    fn score(p: &Params, view: &BlockView<'_>, _: &mut Rng) -> Result<BlockScores> {
        let costs = |kind| view.eliminated(kind, p.damping, p.metric_damping);
        Ok(BlockScores::plain(costs(p.attention_unit)?, costs(UnitKind::FfnChannel)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::testkit::tiny;

    #[test]
    fn with_diagonal_matrices_it_is_half_the_energy_that_goes_in_the_metric() {
        let p = Params { damping: 0.0, metric_damping: 0.0, ..Params::default() };
        let s = Kfac::score(&p, &tiny().view(), &mut Rng::new(0, "")).unwrap();
        // Columns of down (1, 4), (2, 5), (3, 6) in the metric diag(1, 4): 65, 104, 153, times H_jj 4, 1, 5, halved.
        let expected = [130.0, 52.0, 382.5];
        assert!(s.ffn.score.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9), "{:?}", s.ffn.score);
    }
}
