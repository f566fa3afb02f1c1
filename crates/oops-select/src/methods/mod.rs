//! One file per selection method; `refine` improves the plan of any other. To add one: write the file, then name it in [`stages`].

mod global;
mod owl;
mod qp;
mod refine;
mod uniform;

use oops_stage::{AnyStage, erase};

#[cfg(test)]
pub(crate) use self::{global::Global, owl::Owl, qp::Qp, uniform::Uniform};
use crate::stage::SelectStage;

/// The stages of this crate.
pub fn stages() -> Vec<Box<dyn AnyStage>> {
    vec![
        erase::<SelectStage<global::Global>>(),
        erase::<SelectStage<owl::Owl>>(),
        erase::<SelectStage<qp::Qp>>(),
        erase::<SelectStage<uniform::Uniform>>(),
        erase::<refine::Refine>(),
    ]
}
