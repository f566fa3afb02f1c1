//! `reconstruct.box`
//!
//! *What it does.* Ridge that may move no weight far.
//! *Formula.* Ridge subject to |V − W_S| ≤ k · rms of the output's column of W: a box quadratic program per output, all
//! solved together by ADMM with one factor; outputs whose ridge solution is inside the box are that solution.
//! *Needs.* Gram matrices of the dense stream, or tokens for the pruned one.
//! *When it misleads.* It buys robustness with accuracy: with k large it is `reconstruct.ridge`, with k = 0 the cut.
//! *Reference.* Boyd et al., Distributed Optimization and Statistical Learning via ADMM (2011), §5.2.

use oops_core::{Fault, Result, bail_if};
use oops_linalg::{qp::QpStatus, ridge_bounded};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    guard::Repair,
    method::Reconstructor,
    options::{Damping, Options, Search, Stream, Unjudged},
    output::SaveAs,
    problem::{Module, Tokens},
};

/// Parameters of bounded reconstruction.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Params {
    /// k, the most that a weight may move, in RMS weights of its output.
    k: f64,
    /// λ, relative to the mean of diag H_SS, or `auto`: the best of 1e-4 … 1e-1 on the held-out tokens.
    damping: Damping,
    /// Without held-out tokens that can judge: `cut` (the plain cut stays) or `repair` (it stays, unjudged; needs a number
    /// for `damping`).
    #[serde(skip_serializing_if = "Unjudged::is_cut")]
    unjudged: Unjudged,
    /// Activations to fit on: `dense` (from the statistics) or `pruned` (walks the tokens through what is repaired so far).
    stream: Stream,
    /// Precision of the written weights: `auto` (as the source; f32 for quantised ones), `f32`, `f16`, `bf16`.
    dtype: SaveAs,
}

impl Default for Params {
    fn default() -> Self {
        Self { k: 1.0, damping: Damping::DEFAULT, unjudged: Unjudged::Cut, stream: Stream::Dense, dtype: SaveAs::Auto }
    }
}

pub(crate) struct Bounded;

impl Reconstructor for Bounded {
    type Params = Params;
    const NAME: &'static str = "reconstruct.box";
    const VERSION: u32 = 4;
    const ABOUT: &'static str = "ridge that moves no weight further than k RMS weights of its output";

    fn check(params: &Params) -> Result<()> {
        bail_if(!(params.k.is_finite() && params.k >= 0.0), || {
            Fault::config(format!("`k` is {}, but must be a finite number, 0 or more", params.k))
        })
    }

    fn options(params: &Params) -> Options {
        Options::own(params.dtype, Search::Damped(params.damping), params.stream).unjudged(params.unjudged)
    }

    fn repair(params: &Params, module: &Module, tokens: &Tokens, damping: f64) -> Result<Repair> {
        let found = ridge_bounded(&module.linear(tokens)?, &module.kept, damping, params.k)?;
        let mut repair = Repair::from(found.ridge);
        if found.status != QpStatus::Solved {
            repair.status = format!("{:?} to {:.0e}", found.status, found.residual).to_lowercase();
        }
        repair.status = format!("{}, {} of {} outputs at the bound", repair.status, found.active, module.outputs);
        Ok(repair)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{case, error};

    #[test]
    fn no_weight_moves_further_than_the_bound() {
        let (module, tokens) = case(24, 5, 1);
        let found = |k| Bounded::repair(&Params { k, ..Params::default() }, &module, &tokens, 1e-4).unwrap();
        let rms = |o: usize| {
            let square = |j: usize| f64::from(module.weight[j * 5 + o]).powi(2);
            ((0..24).map(square).sum::<f64>() / 24.0).sqrt()
        };
        let tight = found(0.1);
        for (i, (v, w)) in tight.weight.iter().zip(module.cut()).enumerate() {
            assert!(f64::from((v - w).abs()) <= 0.1 * rms(i % 5) + 1e-6);
        }
        assert!(tight.status.starts_with("solved, ") && found(1e3).status == "solved, 0 of 5 outputs at the bound");
        assert_eq!(found(0.0).weight, module.cut());
        let [wide, tight, cut] = [&found(1e3).weight, &tight.weight, &module.cut()].map(|v| error(&module, &tokens, v));
        assert!(wide < tight && tight < cut);
        assert!(Bounded::check(&Params { k: -1.0, ..Params::default() }).is_err());
    }
}
