//! One file per scoring method. To add one: write the file, then name it in [`stages`].

mod fisher;
mod flap;
mod kfac;
mod magnitude;
mod obs;
mod oops;
mod random;
mod taylor;
mod wanda;

use oops_stage::{AnyStage, erase};

use crate::stage::ScoreStage;

/// The stages of this crate.
pub fn stages() -> Vec<Box<dyn AnyStage>> {
    vec![
        erase::<ScoreStage<fisher::Fisher>>(),
        erase::<ScoreStage<flap::Flap>>(),
        erase::<ScoreStage<kfac::Kfac>>(),
        erase::<ScoreStage<magnitude::Magnitude>>(),
        erase::<ScoreStage<obs::Obs>>(),
        erase::<ScoreStage<oops::Oops>>(),
        erase::<ScoreStage<random::Random>>(),
        erase::<ScoreStage<taylor::Taylor>>(),
        erase::<ScoreStage<wanda::Wanda>>(),
    ]
}
