//! `score.fisher`
//!
//! *What it measures.* How much the model's loss grows if the unit goes, by its second-order expansion with the diagonal
//! Fisher information for the curvature.
//! *Formula.* s_u = Σ_b g²_{b,u}, g_{b,u} = ∂L_b/∂m_u of sequence b's summed cross-entropy with respect to the unit's mask;
//! a KV group's g is the sum of its heads', squared afterwards.
//! *Unit.* Loss squared: comparable across the whole model. *Needs.* Gradients.
//! *When it misleads.* It ignores what other units can take over: combine it with OBS inside a block (`score.oops`).
//! *Reference.* Kwon et al. 2022 (arXiv 2204.09656).

use oops_artifact::{BlockScores, Scale};
use oops_core::{Result, Rng, Site, UnitKind};

use crate::{BlockView, Scorer, Shared, stage::Needs};

pub(crate) struct Fisher;

impl Scorer for Fisher {
    type Params = Shared;
    const NAME: &'static str = "score.fisher";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "diagonal Fisher information of the unit's mask";
    const SCALE: Scale = Scale::Damage;
    const NEEDS: Needs = Needs { gradients: true, ..Needs::NOTHING };

    fn attention_unit(params: &Shared) -> UnitKind {
        params.attention_unit
    }

    fn score(_: &Shared, view: &BlockView<'_>, _: &mut Rng) -> Result<BlockScores> {
        let squares = |site| view.gradients(site).squares.clone();
        Ok(BlockScores::plain(squares(Site::AttnOut), squares(Site::MlpDown)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::testkit::tiny;

    #[test]
    fn squared_gradients_as_they_are() {
        let s = Fisher::score(&Shared::default(), &tiny().view(), &mut Rng::new(0, "")).unwrap();
        assert_eq!((s.attention.score, s.ffn.score), (vec![4.0, 1.0], vec![9.0, 1.0, 4.0]));
    }
}
