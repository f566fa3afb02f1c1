//! `reconstruct.ridge`
//!
//! *What it does.* Least squares on the kept channels: they learn to say what the removed ones said.
//! *Formula.* V = (H_SS + λmI)⁻¹ (H_S,: W + λ m W_S), m = mean diag H_SS: one Cholesky factor per module, all outputs
//! at once; damping pulls towards the plain cut W_S, never towards 0.
//! *Needs.* Gram matrices of the dense stream. *Guard.* If the repair does not beat the cut on held-out tokens, λ grows
//! tenfold up to 10, then the cut stays.
//! *When it misleads.* Text of another domain than the calibration's: mix domains in the calibration text.
//! *Reference.* Frantar & Alistarh, OBC (arXiv 2208.11580) for the exact form; damping towards W_S is ours.

use oops_core::{Fault, Result, bail_if};
use oops_linalg::ridge;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    guard::Repair,
    output::SaveAs,
    problem::{Module, Tokens},
    stage::{Needs, Reconstructor},
};

/// Parameters of ridge reconstruction.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Params {
    /// λ, relative to the mean of diag H_SS.
    damping: f64,
    /// Precision of the written weights: `auto` (as the source; f32 for quantised ones), `f32`, `f16`, `bf16`.
    dtype: SaveAs,
}

impl Default for Params {
    fn default() -> Self {
        Self { damping: 1e-3, dtype: SaveAs::Auto }
    }
}

/// Damping above which a repair is as good as none.
const MOST_DAMPING: f64 = 10.0;

pub(crate) struct RidgeRepair;

impl Reconstructor for RidgeRepair {
    type Params = Params;
    const NAME: &'static str = "reconstruct.ridge";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "least squares on the kept channels, damped towards the plain cut, guarded";
    const NEEDS: Needs = Needs::Gram;

    fn check(params: &Params) -> Result<()> {
        bail_if(!(0.0..=MOST_DAMPING).contains(&params.damping), || {
            Fault::config(format!("`damping` is {}, but must be in 0…{MOST_DAMPING}", params.damping))
        })
    }

    fn dtype(params: &Params) -> SaveAs {
        params.dtype
    }

    fn ladder(params: &Params) -> Vec<Option<f64>> {
        let next = |&l: &f64| Some(if l == 0.0 { 1e-6 } else { 10.0 * l });
        std::iter::successors(Some(params.damping), next).take_while(|&l| l <= MOST_DAMPING).map(Some).collect()
    }

    fn repair(module: &Module, tokens: &Tokens, damping: Option<f64>) -> Result<Repair> {
        let solved = ridge(&module.linear(tokens)?, &module.kept, damping.unwrap_or_default())?;
        let status = format!("{:?}", solved.status).to_lowercase();
        Ok(Repair { weight: solved.weight, bias: None, condition: solved.condition, status })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ladder_climbs_by_tens() {
        let ladder = |damping| RidgeRepair::ladder(&Params { damping, ..Params::default() });
        assert_eq!(ladder(1.0), [Some(1.0), Some(10.0)]);
        assert_eq!(ladder(0.0)[..2], [Some(0.0), Some(1e-6)]);
    }
}
