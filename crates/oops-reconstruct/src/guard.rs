//! The guard: a repair is kept only if it beats the plain cut on tokens that it was not fitted on.

use oops_core::Result;
use oops_linalg::{Bias, error_energy, output_energy};
use serde::{Deserialize, Serialize};

use crate::problem::{Module, SiteTokens, Tokens};

/// A repaired module and how it was found.
pub(crate) struct Repair {
    /// V, |S| × outputs.
    pub(crate) weight: Vec<f32>,
    /// Added to the projection's bias.
    pub(crate) bias: Option<Vec<f32>>,
    /// Condition estimate of the solved system.
    pub(crate) condition: Option<f64>,
    /// How the solve ended.
    pub(crate) status: String,
}

/// What the artifact says of one module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Report {
    pub(crate) block: usize,
    pub(crate) site: String,
    /// Channels before and after.
    pub(crate) channels: [usize; 2],
    /// Relative squared error of the plain cut on the judging tokens; `None` without statistics.
    pub(crate) error_cut: Option<f64>,
    /// The same after the repair that was kept.
    pub(crate) error_repaired: Option<f64>,
    /// Whether the judging tokens were held out from the fit.
    pub(crate) judged_on_heldout: bool,
    /// Relative damping λ of the repair that was kept; `None` if the method has none or the cut was kept.
    pub(crate) damping: Option<f64>,
    pub(crate) condition: Option<f64>,
    /// `cut`, `solved`, or what the solver said.
    pub(crate) status: String,
}

/// Fits a repair of a module on tokens with a damping.
pub(crate) type Fit = dyn Fn(&Module, &Tokens, Option<f64>) -> Result<Repair>;

/// Tries `repair` with each damping of `ladder` on the fit tokens; the first that beats the plain cut on the judging
/// tokens is fitted again on all tokens and kept, otherwise the cut is.
pub(crate) fn guarded(
    module: &Module,
    tokens: SiteTokens,
    ladder: &[Option<f64>],
    repair: &Fit,
) -> Result<(Repair, Judgement)> {
    let cut = module.cut();
    let judge = tokens.judge();
    let linear = module.linear(judge)?;
    let energy = output_energy(&linear);
    let relative = |r: &Repair| -> Result<f64> {
        let bias = r.bias.as_ref().map(|values| Bias { values, means: &judge.mean });
        Ok(ratio(error_energy(&linear, &module.kept, &r.weight, bias)?, energy))
    };
    let plain = Repair { weight: cut, bias: None, condition: None, status: "cut".to_owned() };
    let error_cut = relative(&plain)?;
    let heldout = tokens.heldout.is_some();
    for &damping in ladder {
        let error = relative(&repair(module, &tokens.fit, damping)?)?;
        if error < error_cut {
            let kept = repair(module, &tokens.all(), damping)?;
            return Ok((kept, Judgement { error_cut, error_repaired: error, heldout, damping }));
        }
    }
    Ok((plain, Judgement { error_cut, error_repaired: error_cut, heldout, damping: None }))
}

/// Errors of the plain cut and of what was kept.
pub(crate) struct Judgement {
    pub(crate) error_cut: f64,
    pub(crate) error_repaired: f64,
    pub(crate) heldout: bool,
    pub(crate) damping: Option<f64>,
}

/// An output without energy is reproduced by anything that is silent too.
fn ratio(error: f64, energy: f64) -> f64 {
    if error == 0.0 { 0.0 } else { error / energy }
}
