//! `score.random`
//!
//! *What it measures.* Nothing: the floor that every method must beat.
//! *Formula.* Uniform in \[0, 1), from the pipeline's seed. *Needs.* Nothing.

use oops_artifact::{BlockScores, Scale};
use oops_core::{Result, Rng, UnitKind};

use crate::{BlockView, Scorer, Shared, stage::Needs};

pub(crate) struct Random;

impl Scorer for Random {
    type Params = Shared;
    const NAME: &'static str = "score.random";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "uniform random numbers from the seed";
    const NEEDS: Needs = Needs::NOTHING;
    const SCALE: Scale = Scale::Standardized;
    const SEEDED: bool = true;

    fn attention_unit(params: &Shared) -> UnitKind {
        params.attention_unit
    }

    fn score(params: &Shared, view: &BlockView<'_>, rng: &mut Rng) -> Result<BlockScores> {
        let mut draw = |n: usize| (0..n).map(|_| rng.uniform()).collect::<Vec<_>>();
        Ok(BlockScores::plain(draw(params.attention_unit.count(view.dims)), draw(view.dims.ffn)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::testkit::tiny;

    #[test]
    fn the_seed_decides() {
        let draw = |seed| Random::score(&Shared::default(), &tiny().view(), &mut Rng::new(seed, "")).unwrap();
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
