//! One file per selection method. To add one: write the file, then name it in [`stages`].

mod global;
mod uniform;

use oops_stage::{AnyStage, erase};

use crate::stage::SelectStage;

/// The stages of this crate.
pub fn stages() -> Vec<Box<dyn AnyStage>> {
    vec![erase::<SelectStage<global::Global>>(), erase::<SelectStage<uniform::Uniform>>()]
}
