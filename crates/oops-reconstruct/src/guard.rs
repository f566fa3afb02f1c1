//! The guard: a repair is kept only if it beats the plain cut on tokens that it was not fitted on.

use oops_core::{Result, Site, finite::check_finite};
use oops_linalg::{Bias, error_energy, output_energy, shifted_error};
use serde::{Deserialize, Serialize};

use crate::{
    joint::Refined,
    options::{Search, Unjudged},
    problem::{Module, SiteTokens, Tokens, install},
};

/// A repaired module and how it was found.
#[derive(Clone)]
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

/// A repair that was judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tried {
    /// Relative damping λ; `None` for a method without one.
    pub(crate) damping: Option<f64>,
    /// Relative squared error on the judging tokens; `None` if it is not a finite number.
    pub(crate) error: Option<f64>,
}

/// What the artifact says of one module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Report {
    pub(crate) block: usize,
    pub(crate) site: String,
    /// Channels before and after.
    pub(crate) channels: [usize; 2],
    /// Relative squared error of the plain cut on the judging tokens, or on the fitted ones where none may judge; `None`
    /// without statistics.
    pub(crate) error_cut: Option<f64>,
    /// The same after the repair that was kept, fitted on the fit tokens; a repair that was not judged has the error on
    /// the tokens that it was fitted on.
    pub(crate) error_repaired: Option<f64>,
    /// Whether the judging tokens were held out from the fit.
    pub(crate) judged_on_heldout: bool,
    /// Relative damping λ of the repair that was kept; `None` if the method has none or the cut was kept.
    pub(crate) damping: Option<f64>,
    /// Every repair that was judged, in order.
    pub(crate) tried: Vec<Tried>,
    pub(crate) condition: Option<f64>,
    /// `cut`, `solved`, or what the solver said, and whether nothing could judge it.
    pub(crate) status: String,
    /// What refining the FFN behind its repair came to, where the method does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refined: Option<Refined>,
}

impl Report {
    /// A module that is cut without statistics to judge it.
    pub(crate) fn cut(block: usize, site: Site, channels: [usize; 2]) -> Self {
        Self {
            block,
            site: site.to_string(),
            channels,
            error_cut: None,
            error_repaired: None,
            judged_on_heldout: false,
            damping: None,
            tried: Vec::new(),
            condition: None,
            status: "cut".to_owned(),
            refined: None,
        }
    }
}

/// Fits one repair of a module on tokens for each of several dampings.
pub(crate) type Fit<'a> = dyn Fn(&Module, &Tokens, &[f64]) -> Result<Vec<Repair>> + 'a;

/// A method with its parameters, and which of its repairs to try.
pub(crate) struct Guard<'a> {
    pub(crate) search: Search,
    pub(crate) unjudged: Unjudged,
    pub(crate) fit: Box<Fit<'a>>,
}

impl Guard<'_> {
    /// Repairs the module at `site` of `block` and puts the result into the sliced `projection`.
    pub(crate) fn repair(
        &self,
        block: usize,
        site: Site,
        module: &Module,
        tokens: SiteTokens,
        projection: &mut oops_model::Linear,
    ) -> Result<Report> {
        let (repair, report) = self.choose(module, tokens, Report::cut(block, site, module.widths()))?;
        install(projection, module.outputs, &repair.weight, repair.bias.as_deref())?;
        Ok(report)
    }

    /// Tries the rounds of the search on the fit tokens; the best of the first round that beats the plain cut on the
    /// judging tokens is fitted again on all tokens and kept, otherwise the cut is.
    fn choose(&self, module: &Module, tokens: SiteTokens, report: Report) -> Result<(Repair, Report)> {
        let Some(heldout) = &tokens.heldout else { return self.unjudged(module, tokens, report) };
        let judge = Judge::new(module, heldout)?;
        let plain = Repair { weight: module.cut(), bias: None, condition: None, status: "cut".to_owned() };
        let error_cut = judge.cut(&plain)?;
        let mut report =
            Report { error_cut: Some(error_cut), error_repaired: Some(error_cut), judged_on_heldout: true, ..report };
        for round in self.search.rounds() {
            let mut best: Option<(f64, f64)> = None;
            for (&damping, repair) in round.iter().zip((self.fit)(module, &tokens.fit, &round)?) {
                let error = judge.error(&repair)?;
                let finite = Some(error).filter(|e| e.is_finite());
                report.tried.push(Tried { damping: self.search.report(damping), error: finite });
                // Not a number is never better, and of equals the milder repair, which comes later, is kept.
                if error < error_cut && best.is_none_or(|(_, least)| error <= least) {
                    best = Some((damping, error));
                }
            }
            let Some((damping, error)) = best else { continue };
            let kept = (self.fit)(module, &tokens.all(), &[damping])?.into_iter().next().unwrap_or(plain);
            report.error_repaired = Some(error);
            report.damping = self.search.report(damping);
            report.condition = kept.condition;
            report.status.clone_from(&kept.status);
            return Ok((kept, report));
        }
        Ok((plain, report))
    }

    /// Without tokens that may judge: the plain cut, or the one repair that the user takes unjudged. On the fitted tokens
    /// any repair looks better than the cut; one that does not even there has failed, and is not kept.
    fn unjudged(&self, module: &Module, tokens: SiteTokens, mut report: Report) -> Result<(Repair, Report)> {
        let fitted = Judge::new(module, &tokens.fit)?;
        let plain = Repair { weight: module.cut(), bias: None, condition: None, status: "cut".to_owned() };
        let error_cut = fitted.cut(&plain)?;
        (report.error_cut, report.error_repaired) = (Some(error_cut), Some(error_cut));
        if self.search != Search::Cut {
            "cut, not judged".clone_into(&mut report.status);
        }
        let Some(damping) = self.search.only().filter(|_| self.unjudged == Unjudged::Repair) else {
            return Ok((plain, report));
        };
        let repair = (self.fit)(module, &tokens.fit, &[damping])?.into_iter().next().unwrap_or_else(|| plain.clone());
        let error = fitted.error(&repair)?;
        if error >= error_cut || error.is_nan() {
            return Ok((plain, report));
        }
        report.error_repaired = Some(error);
        report.damping = self.search.report(damping);
        report.condition = repair.condition;
        report.status = format!("{}, not judged", repair.status);
        Ok((repair, report))
    }
}

/// Errors of repairs of one module on one set of tokens.
struct Judge<'a> {
    module: &'a Module,
    tokens: &'a Tokens,
    linear: oops_linalg::Linear<'a>,
    energy: f64,
}

impl<'a> Judge<'a> {
    fn new(module: &'a Module, tokens: &'a Tokens) -> Result<Self> {
        let linear = module.linear(tokens)?;
        let energy = if tokens.shift.is_some() { 0.0 } else { output_energy(&linear) };
        Ok(Self { module, tokens, linear, energy })
    }

    /// The error of the plain cut, which must be a finite number: whatever is compared with NaN looks no worse.
    fn cut(&self, plain: &Repair) -> Result<f64> {
        let error = self.error(plain)?;
        check_finite(&[error], "the error of the plain cut")?;
        Ok(error)
    }

    /// Squared error relative to the energy of the target; what a silent target asks for is silence.
    fn error(&self, repair: &Repair) -> Result<f64> {
        let kept = &self.module.kept;
        let [error, energy] = if let Some(shift) = &self.tokens.shift {
            shifted_error(&self.linear, kept, &repair.weight, &shift.view())?
        } else {
            let bias = repair.bias.as_ref().map(|values| Bias { values, means: &self.tokens.mean });
            [error_energy(&self.linear, kept, &repair.weight, bias)?, self.energy]
        };
        Ok(if error == 0.0 { 0.0 } else { error / energy })
    }
}
