//! `score.taylor`
//!
//! *What it measures.* How much the model's loss changes if the unit goes, by its first-order expansion.
//! *Formula.* s_u = |Σ_b g_{b,u}|, g_{b,u} = ∂L_b/∂m_u of sequence b's summed cross-entropy with respect to the unit's mask.
//! *Unit.* Loss. *Needs.* Gradients.
//! *When it misleads.* Near a minimum gradients of both signs cancel, and what is left says little: compare
//! `score.fisher`.
//! *Beside the authors' code* (LLM-Pruner, `TaylorImportance`). Σ over the weights of the site's column of w·∂L/∂w is our mask
//! gradient, so this is its `vectorize` form for the columns of o and down; it adds the same sums of the rows of up (equal
//! by homogeneity) and of q, k, v and gate (not). Its default, `param_first`, sums |w·∂L/∂w| over single weights instead, on ten
//! sequences of 64 tokens, and it leaves the first four and the last two blocks whole.
//! *Reference.* Molchanov et al. 2017 (arXiv 1611.06440); for language models Ma et al., LLM-Pruner (arXiv 2305.11627).

use oops_artifact::{BlockScores, Scale};
use oops_core::{Result, Rng, Site, UnitKind};

use crate::{BlockView, Scorer, Shared, stage::Needs};

pub(crate) struct Taylor;

impl Scorer for Taylor {
    type Params = Shared;
    const NAME: &'static str = "score.taylor";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "absolute first-order change of the loss";
    const SCALE: Scale = Scale::Damage;
    const NEEDS: Needs = Needs { gradients: true, ..Needs::NOTHING };

    fn attention_unit(params: &Shared) -> UnitKind {
        params.attention_unit
    }

    fn score(_: &Shared, view: &BlockView<'_>, _: &mut Rng) -> Result<BlockScores> {
        let sums = |site| view.gradients(site).sum.iter().map(|g| g.abs()).collect();
        Ok(BlockScores::plain(sums(Site::AttnOut), sums(Site::MlpDown)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::testkit::tiny;

    #[test]
    fn the_sign_does_not_matter() {
        let s = Taylor::score(&Shared::default(), &tiny().view(), &mut Rng::new(0, "")).unwrap();
        assert_eq!(s.ffn.score, [2.0, 2.0, 2.0]);
    }
}
