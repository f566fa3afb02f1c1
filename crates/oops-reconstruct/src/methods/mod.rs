//! One file per reconstruction method. To add one: write the file, then name it in [`stages`].

mod bias;
mod bounded;
mod equality;
pub(crate) mod joint;
mod none;
mod obs;
pub(crate) mod ridge;
mod scale;
mod transfer;

use oops_stage::{AnyStage, erase};

use crate::stage::ReconstructStage;

/// The stages of this crate.
pub fn stages() -> Vec<Box<dyn AnyStage>> {
    vec![
        erase::<ReconstructStage<bias::MeanBias>>(),
        erase::<ReconstructStage<bounded::Bounded>>(),
        erase::<ReconstructStage<equality::KeptMean>>(),
        erase::<ReconstructStage<joint::JointRepair>>(),
        erase::<ReconstructStage<none::PlainCut>>(),
        erase::<ReconstructStage<obs::SequentialRemoval>>(),
        erase::<ReconstructStage<ridge::RidgeRepair>>(),
        erase::<ReconstructStage<scale::UnitGains>>(),
        erase::<ReconstructStage<transfer::Carriers>>(),
    ]
}
