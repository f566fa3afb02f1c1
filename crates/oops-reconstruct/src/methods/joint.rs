//! `reconstruct.joint`
//!
//! *What it does.* `reconstruct.ridge` on the pruned stream, and then gate, up and down of every FFN that lost channels
//! together: the kept channels change what they read, too, where the ridge repair only changes how they are mixed.
//! *Formula.* Gauss–Newton: with J the FFN's derivative by its weights, min_δ Σ_t w_t‖r_t − J_t δ‖²/T + λ δᵀMδ, r being
//! what the stream behind the FFN lacks, by conjugate gradients with a Kronecker-factored preconditioner M. The iterate
//! that is best on held-out tokens is kept; without one that beats the ridge repair, that stays.
//! *Needs.* Calibration tokens: every iteration costs about as much as a forward and a backward pass of the FFNs.
//! *When it misleads.* Text of another domain than the calibration's, as for every repair that is fitted.
//! *Reference.* Nocedal & Wright, Numerical Optimization, chapter 10 (Gauss–Newton); Martens & Grosse (arXiv 1503.05671) for
//! M. Put together this way, it is ours.

use oops_core::{Fault, Result, bail_if};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ridge::{self, RidgeRepair};
use crate::{
    guard::Repair,
    method::{Reconstructor, Statistics},
    options::{Damping, Joint, Options, Search, Stream, Target},
    output::SaveAs,
    problem::{Module, Tokens},
};

/// Parameters of joint reconstruction.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Params {
    /// λ of the ridge repairs, relative to the mean of diag H_SS, or `auto`: the best of 1e-4 … 1e-1 on the held-out tokens.
    damping: Damping,
    /// What the stream behind an FFN shall be: `residual` (the dense model's stream, so that earlier damage is corrected too)
    /// or `own` (what the dense FFN would make of the pruned stream).
    target: Target,
    /// Times that an FFN is linearised.
    steps: usize,
    /// Iterations of conjugate gradients for each of them.
    iterations: usize,
    /// λ of the steps, relative to the mean diagonal of M's factors.
    step_damping: f64,
    /// κ: a token weighs min(1, κ·median‖y‖²/‖y_t‖²), y being the target, so that massive tokens do not own the fit; 0 weighs
    /// all alike.
    kappa: f64,
    /// Precision of the written weights: `auto` (as the source; f32 for quantised ones), `f32`, `f16`, `bf16`.
    dtype: SaveAs,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            damping: Damping::Auto,
            target: Target::Residual,
            steps: 2,
            iterations: 4,
            step_damping: 0.1,
            kappa: 10.0,
            dtype: SaveAs::Auto,
        }
    }
}

pub(crate) struct JointRepair;

impl Reconstructor for JointRepair {
    type Params = Params;
    const NAME: &'static str = "reconstruct.joint";
    const VERSION: u32 = 2;
    const ABOUT: &'static str = "ridge, then gate, up and down together by Gauss-Newton steps on the pruned stream";
    const STATISTICS: Statistics = Statistics::Nothing;

    fn check(params: &Params) -> Result<()> {
        bail_if(params.target == Target::Dense, || {
            Fault::config("`target` is `dense`, but must be `residual` or `own`")
        })?;
        bail_if(params.steps == 0 || params.iterations == 0, || {
            Fault::config("`steps` and `iterations` must be at least 1").help("`reconstruct.ridge` does without")
        })?;
        bail_if(!(params.step_damping.is_finite() && params.step_damping >= 1e-6), || {
            Fault::config("`step_damping` must be 1e-6 or more")
        })
    }

    fn options(params: &Params) -> Options {
        let joint = Joint {
            target: params.target,
            steps: params.steps,
            iterations: params.iterations,
            damping: params.step_damping,
            kappa: params.kappa,
        };
        Options { joint: Some(joint), ..Options::own(params.dtype, Search::Damped(params.damping), Stream::Pruned) }
    }

    fn solve_bytes(_: &Params, n: u64, d: u64) -> u64 {
        RidgeRepair::solve_bytes(&ridge::Params::default(), n, d)
    }

    fn repair(params: &Params, module: &Module, tokens: &Tokens, damping: f64) -> Result<Repair> {
        Ok(Self::repairs(params, module, tokens, &[damping])?.remove(0))
    }

    fn repairs(_: &Params, module: &Module, tokens: &Tokens, dampings: &[f64]) -> Result<Vec<Repair>> {
        RidgeRepair::repairs(&ridge::Params::default(), module, tokens, dampings)
    }
}
