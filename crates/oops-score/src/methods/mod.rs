//! One file per scoring method. To add one: write the file, then name it in [`stages`].

mod flap;
mod magnitude;
mod random;
mod wanda;

use oops_stage::{AnyStage, erase};

use crate::stage::ScoreStage;

/// The stages of this crate.
pub fn stages() -> Vec<Box<dyn AnyStage>> {
    vec![
        erase::<ScoreStage<flap::Flap>>(),
        erase::<ScoreStage<magnitude::Magnitude>>(),
        erase::<ScoreStage<random::Random>>(),
        erase::<ScoreStage<wanda::Wanda>>(),
    ]
}
