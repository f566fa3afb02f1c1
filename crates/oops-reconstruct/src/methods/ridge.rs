//! `reconstruct.ridge`
//!
//! *What it does.* Least squares on the kept channels: they learn to say what the removed ones said.
//! *Formula.* V = (H_SS + λmI)⁻¹ (H_S,: W + λ m W_S), m = mean diag H_SS: one Cholesky factor per module, all outputs
//! at once; damping pulls towards the plain cut W_S, never towards 0. With another target, X W + D, XᵀD/T is added to
//! the right side.
//! *Needs.* Gram matrices of the dense stream, or tokens for the pruned one. *Guard.* If the repair does not beat the
//! cut on held-out tokens, λ grows tenfold up to 10, then the cut stays.
//! *When it misleads.* Text of another domain than the calibration's: mix domains in the calibration text.
//! *Reference.* Frantar & Alistarh, OBC (arXiv 2208.11580) for the exact form; damping towards W_S is ours.

use oops_core::Result;
use oops_linalg::{Ridge, ridge_path};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    guard::Repair,
    method::Reconstructor,
    options::{Damping, Options, Search, Stream, Target, Unjudged},
    output::SaveAs,
    problem::{Module, Shift, Tokens},
};

/// Parameters of ridge reconstruction.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Params {
    /// λ, relative to the mean of diag H_SS, or `auto`: the best of 1e-4 … 1e-1 on the held-out tokens.
    damping: Damping,
    /// Without held-out tokens that can judge: `cut` (the plain cut stays) or `repair` (it stays, unjudged; needs a number
    /// for `damping`).
    #[serde(skip_serializing_if = "Unjudged::is_cut")]
    unjudged: Unjudged,
    /// Activations to fit on: `dense` (from the statistics) or `pruned` (walks the tokens through what is repaired so far).
    stream: Stream,
    /// On the pruned stream, what a module shall give: `own` (its dense weights' output there), `dense` (its output on the
    /// dense stream) or `residual` (what the stream lacks to be the dense one).
    target: Target,
    /// κ: on the pruned stream a token weighs min(1, κ·median‖y‖²/‖y_t‖²), so that massive tokens do not own the fit; 0 weighs
    /// all alike. y is the dense stream behind the module or, with `target: own`, the pruned one in front of it; the median
    /// is over all tokens that are not held out.
    kappa: f64,
    /// Precision of the written weights: `auto` (as the source; f32 for quantised ones), `f32`, `f16`, `bf16`.
    dtype: SaveAs,
}

impl Default for Params {
    fn default() -> Self {
        // On SmolLM2-135M with 20, 30, 50 % removed: perplexity 30.18, 36.07, 61.71 with λ = 1e-3, 30.07, 35.82, 61.44 so.
        Self {
            damping: Damping::Auto,
            unjudged: Unjudged::Cut,
            stream: Stream::Dense,
            target: Target::Own,
            kappa: 0.0,
            dtype: SaveAs::Auto,
        }
    }
}

pub(crate) struct RidgeRepair;

impl Reconstructor for RidgeRepair {
    type Params = Params;
    const NAME: &'static str = "reconstruct.ridge";
    const VERSION: u32 = 5;
    const ABOUT: &'static str = "least squares on the kept channels, damped towards the plain cut, guarded";

    fn options(params: &Params) -> Options {
        Options {
            dtype: params.dtype,
            search: Search::Damped(params.damping),
            unjudged: params.unjudged,
            stream: params.stream,
            target: params.target,
            kappa: params.kappa,
            joint: None,
        }
    }

    /// Packed Gram matrices of both splits and the factor; W, the cut and every candidate, and the right sides in f64; with
    /// another target also XᵀD of both splits.
    fn solve_bytes(params: &Params, n: u64, d: u64) -> u64 {
        let candidates = Search::Damped(params.damping).rounds().first().map_or(0, Vec::len) as u64;
        let shifts = if params.target == Target::Own { 0 } else { 2 };
        12 * n * n + 4 * n * d * (4 + candidates + shifts)
    }

    fn repair(params: &Params, module: &Module, tokens: &Tokens, damping: f64) -> Result<Repair> {
        Ok(Self::repairs(params, module, tokens, &[damping])?.remove(0))
    }

    fn repairs(_: &Params, module: &Module, tokens: &Tokens, dampings: &[f64]) -> Result<Vec<Repair>> {
        let shift = tokens.shift.as_ref().map(Shift::view);
        let found = ridge_path(&module.linear(tokens)?, &module.kept, dampings, shift.as_ref())?;
        Ok(found.into_iter().map(Repair::from).collect())
    }
}

impl From<Ridge> for Repair {
    fn from(found: Ridge) -> Self {
        let status = format!("{:?}", found.status).to_lowercase();
        Self { weight: found.weight, bias: None, condition: found.condition, status }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{case, error};

    #[test]
    fn one_repair_per_damping_and_all_beat_the_cut() {
        let (module, tokens) = case(24, 5, 1);
        let params = Params::default();
        let found = RidgeRepair::repairs(&params, &module, &tokens, &[1e-4, 1e-1]).unwrap();
        let single = RidgeRepair::repair(&params, &module, &tokens, 1e-1).unwrap();
        assert_eq!(found[1].weight, single.weight);
        let [mild, hard, cut] = [&found[1].weight, &found[0].weight, &module.cut()].map(|v| error(&module, &tokens, v));
        assert!(hard < mild && mild < cut, "{hard} {mild} {cut}");
    }
}
