//! One file per reconstruction method. To add one: write the file, then name it in [`stages`].

mod bias;
mod none;
mod ridge;

use oops_stage::{AnyStage, erase};

use crate::stage::ReconstructStage;

/// The stages of this crate.
pub fn stages() -> Vec<Box<dyn AnyStage>> {
    vec![
        erase::<ReconstructStage<bias::MeanBias>>(),
        erase::<ReconstructStage<none::PlainCut>>(),
        erase::<ReconstructStage<ridge::RidgeRepair>>(),
    ]
}
