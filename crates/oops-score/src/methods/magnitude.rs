//! `score.magnitude`
//!
//! *What it measures.* How much weight a unit carries, without looking at data.
//! *Formula.* s_u = Σ w² over all weights of the unit: for an FFN channel the rows of gate and up and the column of
//! down; for a KV group the rows of q, k, v and the columns of o.
//! *Unit.* Weight squared. *Needs.* Weights only.
//! *When it misleads.* Always, at structured sparsity: a channel with small weights may carry huge activations.
//! *Reference.* Han et al. 2015 (arXiv 1506.02626), summed over structures.

use oops_artifact::{BlockScores, Scale};
use oops_core::{Result, Rng, Site, UnitKind};

use crate::{BlockView, Scorer, Shared, stage::Needs, units::sum};

pub(crate) struct Magnitude;

impl Scorer for Magnitude {
    type Params = Shared;
    const NAME: &'static str = "score.magnitude";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "sum of squared weights of the unit (no data)";
    const NEEDS: Needs = Needs::NOTHING;
    const SCALE: Scale = Scale::Damage;

    fn attention_unit(params: &Shared) -> UnitKind {
        params.attention_unit
    }

    fn score(params: &Shared, view: &BlockView<'_>, _: &mut Rng) -> Result<BlockScores> {
        let b = view.block;
        let add = |a: Vec<f64>, b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(x, y)| x + y).collect() };
        let ffn = add(add(view.column_squares(Site::MlpDown)?, &view.row_squares(&b.up)?), &view.row_squares(&b.gate)?);
        let own = add(view.column_squares(Site::AttnOut)?, &view.row_squares(&b.q)?);
        let shared = add(view.row_squares(&b.k)?, &view.row_squares(&b.v)?);
        let mut attention = view.units(params.attention_unit, &own, sum);
        if params.attention_unit == UnitKind::KvGroup {
            let per_group = shared.chunks(view.dims.head_dim).map(|c| c.iter().sum::<f64>());
            attention.iter_mut().zip(per_group).for_each(|(s, kv)| *s += kv);
        }
        Ok(BlockScores::plain(attention, ffn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::testkit::tiny;

    #[test]
    fn a_unit_owns_rows_and_columns() {
        // hidden 2, two KV groups of one head of width 1, three FFN channels; see `tiny` for the weights.
        let t = tiny();
        let s = Magnitude::score(&Shared::default(), &t.view(), &mut Rng::new(0, "")).unwrap();
        // Channel 0: down column (1, 4), up row (1, 0), gate row (2, 0) → 1+16+1+4.
        assert!((s.ffn.score[0] - 22.0).abs() < 1e-9, "{:?}", s.ffn);
        // Group 1: o column (2, 4), q row (0, 1), k row (0, 2), v row (0, 3) → 4+16+1+4+9.
        assert!((s.attention.score[1] - 34.0).abs() < 1e-9, "{:?}", s.attention);
    }
}
