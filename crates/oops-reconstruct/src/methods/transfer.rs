//! `reconstruct.transfer`
//!
//! *What it does.* Each removed channel is carried by its m most correlated kept channels.
//! *Formula.* Per removed channel p with carriers N: min over b ½ bᵀH_NN b − H_Npᵀb + ½ λ Σ H_ii b_i² subject to
//! μ_Nᵀb = μ_p (the mean is kept, so no bias is needed), |b_i| √(H_ii/H_pp) ≤ β, Σ |b_i| √(H_ii/H_pp) ≤ κ; then
//! W_S += B W_P. |P| independent quadratic programs of m variables: closed form inside the bounds, Clarabel otherwise.
//! *Needs.* Gram matrices and means of the dense stream, or tokens for the pruned one.
//! *When it misleads.* On text like the calibration's it is behind `reconstruct.ridge`; it is for text unlike it, where
//! few carriers overfit less.
//! *Reference.* Ours; with N = S, λ → 0, no mean and no bounds it is least squares.

use oops_core::{Fault, Result, bail_if};
use oops_linalg::qp::{Carrier, QpStatus, TransferOptions, transfer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    guard::Repair,
    method::Reconstructor,
    options::{Damping, Options, Search, Stream, Unjudged},
    output::SaveAs,
    problem::{Module, Tokens},
};

/// Parameters of transfer to carriers.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Params {
    /// m, carriers of a removed channel.
    carriers: usize,
    /// λ, relative to each carrier's own second moment, or `auto`: the best of 1e-4 … 1e-1 on the held-out tokens.
    damping: Damping,
    /// Without held-out tokens that can judge: `cut` (the plain cut stays) or `repair` (it stays, unjudged; needs a number
    /// for `damping`).
    #[serde(skip_serializing_if = "Unjudged::is_cut")]
    unjudged: Unjudged,
    /// β, the most that one carrier may deliver, in amplitudes (RMS) of the removed channel; absent for no bound.
    beta: Option<f64>,
    /// κ, the most that all carriers of a channel may deliver together (ℓ1), in the same unit; absent for no bound.
    kappa: Option<f64>,
    /// Activations to fit on: `dense` (from the statistics) or `pruned` (walks the tokens through what is repaired so far).
    stream: Stream,
    /// Precision of the written weights: `auto` (as the source; f32 for quantised ones), `f32`, `f16`, `bf16`.
    dtype: SaveAs,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            carriers: 32,
            damping: Damping::DEFAULT,
            unjudged: Unjudged::Cut,
            beta: None,
            kappa: None,
            stream: Stream::Dense,
            dtype: SaveAs::Auto,
        }
    }
}

pub(crate) struct Carriers;

impl Reconstructor for Carriers {
    type Params = Params;
    const NAME: &'static str = "reconstruct.transfer";
    const VERSION: u32 = 4;
    const ABOUT: &'static str = "each removed channel is carried by its most correlated kept ones, means kept exactly";

    fn check(params: &Params) -> Result<()> {
        bail_if(params.carriers == 0, || Fault::config("`carriers` must be at least 1"))?;
        for (name, bound) in [("beta", params.beta), ("kappa", params.kappa)] {
            bail_if(bound.is_some_and(|b| !(b.is_finite() && b > 0.0)), || {
                Fault::config(format!("`{name}` must be above 0, or absent for no bound"))
            })?;
        }
        Ok(())
    }

    fn options(params: &Params) -> Options {
        Options::own(params.dtype, Search::Damped(params.damping), params.stream).unjudged(params.unjudged)
    }

    fn repair(params: &Params, module: &Module, tokens: &Tokens, damping: f64) -> Result<Repair> {
        let options = TransferOptions {
            neighbours: params.carriers,
            lambda: damping,
            means: Some(&tokens.mean),
            bound: params.beta,
            total: params.kappa,
        };
        let found = transfer(&module.linear(tokens)?, &module.kept, &options)?;
        Ok(Repair { weight: found.weight, bias: None, condition: None, status: status(&found.carriers) })
    }
}

/// How the programs ended: `solved`, or what became of those that were not.
fn status(carriers: &[Carrier]) -> String {
    let count = |f: &dyn Fn(&Carrier) -> bool| carriers.iter().filter(|c| f(c)).count();
    let almost = count(&|c| c.status == QpStatus::AlmostSolved);
    let failed = count(&|c| !c.status.is_usable());
    let free = count(&|c| !c.keeps_mean);
    let parts = [(almost, "almost solved"), (failed, "not carried"), (free, "without their mean")];
    let parts: Vec<String> = parts.iter().filter(|p| p.0 > 0).map(|(n, what)| format!("{n} {what}")).collect();
    if parts.is_empty() {
        return "solved".to_owned();
    }
    format!("of {} channels {}", carriers.len(), parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{case, error, mean_output};

    #[test]
    fn the_mean_output_is_kept_and_bounds_cost_accuracy() {
        let (module, tokens) = case(24, 5, 1);
        let found = |params: &Params| Carriers::repair(params, &module, &tokens, 1e-6).unwrap();
        let free = found(&Params { carriers: 8, ..Params::default() });
        assert_eq!(free.status, "solved");
        let all: Vec<usize> = (0..24).collect();
        let dense = mean_output(&tokens, &all, &module.weight, 5);
        let kept = mean_output(&tokens, &module.kept, &free.weight, 5);
        assert!(dense.iter().zip(&kept).all(|(a, b)| (a - b).abs() < 1e-4 * (1.0 + a.abs())), "{dense:?} {kept:?}");
        let tight = found(&Params { carriers: 8, beta: Some(0.05), ..Params::default() });
        let [a, b, cut] = [&free.weight, &tight.weight, &module.cut()].map(|v| error(&module, &tokens, v));
        assert!(a < b && a < cut, "{a} {b} {cut}");
    }

    #[test]
    fn impossible_parameters_are_refused() {
        let check = |p: Params| Carriers::check(&p).is_ok();
        assert!(check(Params::default()) && check(Params { beta: Some(0.3), ..Params::default() }));
        assert!(!check(Params { carriers: 0, ..Params::default() }));
        assert!(!check(Params { kappa: Some(0.0), ..Params::default() }));
        assert!(!check(Params { beta: Some(f64::NAN), ..Params::default() }));
    }
}
