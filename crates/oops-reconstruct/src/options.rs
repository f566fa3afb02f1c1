//! What the methods' parameters have in common.

use oops_core::{Fault, Result, bail_if};
use oops_model::SaveAs;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use crate::damping::{Damping, MOST_DAMPING};

/// Dampings that `auto` tries first.
const CANDIDATES: [f64; 4] = [1e-4, 1e-3, 1e-2, 1e-1];

/// Which activations repairs are fitted on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stream {
    /// Those of the dense model, from the statistics.
    #[default]
    Dense,
    /// Those of the pruned and repaired model so far, block by block, from the tokens.
    Pruned,
}

/// What a module shall give on the pruned stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Target {
    /// What its own dense weights give there.
    #[default]
    Own,
    /// What the module gives on the dense model's stream. A trap where a few massive tokens own the fit.
    Dense,
    /// What the pruned residual stream lacks to be the dense model's after the module.
    Residual,
}

/// Which repairs of a module the guard tries.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Search {
    /// None: the plain cut.
    Cut,
    /// One, which has no damping.
    Once,
    /// Dampings.
    Damped(Damping),
}

impl Search {
    /// Rounds of dampings: the best of a round is kept if it beats the cut, otherwise the next, milder repairs are tried.
    pub(crate) fn rounds(&self) -> Vec<Vec<f64>> {
        let climb = |from: f64| {
            let next = |&l: &f64| Some(if l == 0.0 { 1e-6 } else { 10.0 * l });
            std::iter::successors(Some(from), next).take_while(|&l| l <= MOST_DAMPING).map(|l| vec![l])
        };
        match self {
            Self::Cut => Vec::new(),
            Self::Once => vec![vec![0.0]],
            Self::Damped(Damping::Fixed(value)) => climb(*value).collect(),
            Self::Damped(Damping::Auto) => std::iter::once(CANDIDATES.to_vec()).chain(climb(1.0)).collect(),
        }
    }

    /// The one repair to make where nothing can choose: `None` for the plain cut and for `auto`.
    pub(crate) fn only(&self) -> Option<f64> {
        match self {
            Self::Once => Some(0.0),
            Self::Damped(Damping::Fixed(value)) => Some(*value),
            Self::Cut | Self::Damped(Damping::Auto) => None,
        }
    }

    /// The damping as reports give it.
    pub(crate) fn report(&self, damping: f64) -> Option<f64> {
        matches!(self, Self::Damped(_)).then_some(damping)
    }
}

/// What becomes of a module where no token may judge its repair: too little text was held out, or all of it is in what
/// was fitted too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Unjudged {
    /// The plain cut stays: on the tokens that it was fitted on, every repair looks better than that.
    #[default]
    Cut,
    /// The repair stays, on the user's word.
    Repair,
}

impl Unjudged {
    /// Whether it is [`Self::Cut`].
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    pub(crate) fn is_cut(&self) -> bool {
        *self == Self::Cut
    }
}

/// Parameters of a method that has a damping and nothing of its own.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DampedParams {
    /// λ, relative to the mean of the diagonal that it is added to, or `auto`: the best of 1e-4 … 1e-1 on the held-out
    /// tokens.
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

impl Default for DampedParams {
    fn default() -> Self {
        Self { damping: Damping::DEFAULT, unjudged: Unjudged::Cut, stream: Stream::Dense, dtype: SaveAs::Auto }
    }
}

impl DampedParams {
    /// What they say to the loop over blocks.
    pub(crate) fn options(&self) -> Options {
        Options::own(self.dtype, Search::Damped(self.damping), self.stream).unjudged(self.unjudged)
    }
}

/// How whole FFNs are refined.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Joint {
    /// What the stream behind the FFN shall be: [`Target::Own`] or [`Target::Residual`].
    pub(crate) target: Target,
    /// Times that the FFN is linearised.
    pub(crate) steps: usize,
    /// Iterations of conjugate gradients for each.
    pub(crate) iterations: usize,
    /// λ.
    pub(crate) damping: f64,
    /// κ of the token weights w.
    pub(crate) kappa: f64,
}

/// What a method's parameters say to the loop over blocks.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Precision of the written weights.
    pub(crate) dtype: SaveAs,
    pub(crate) search: Search,
    pub(crate) unjudged: Unjudged,
    pub(crate) stream: Stream,
    pub(crate) target: Target,
    /// κ of the token weights on the pruned stream; 0 weighs all tokens alike.
    pub(crate) kappa: f64,
    /// On the pruned stream, what refines every FFN behind its repair.
    pub(crate) joint: Option<Joint>,
}

impl Options {
    /// Whether the dense model's stream walks beside the pruned one.
    pub(crate) fn two_streams(&self) -> bool {
        self.target != Target::Own || self.joint.is_some_and(|j| j.target != Target::Own)
    }

    /// For a method whose target is the module's own output.
    pub(crate) fn own(dtype: SaveAs, search: Search, stream: Stream) -> Self {
        Self { dtype, search, unjudged: Unjudged::Cut, stream, target: Target::Own, kappa: 0.0, joint: None }
    }

    /// The same with [`Self::unjudged`] set.
    pub(crate) fn unjudged(self, unjudged: Unjudged) -> Self {
        Self { unjudged, ..self }
    }

    /// Checks what the method's own check need not know of.
    pub(crate) fn check(&self) -> Result<()> {
        if let Search::Damped(damping) = self.search {
            damping.check()?;
            bail_if(damping == Damping::Auto && self.unjudged == Unjudged::Repair, || {
                Fault::config("`unjudged: repair` needs a number for `damping`")
                    .help("`auto` chooses by held-out tokens, and without such there is nothing to choose by")
            })?;
        }
        let mut kappas = [self.kappa].into_iter().chain(self.joint.map(|j| j.kappa));
        bail_if(!kappas.all(|k| k.is_finite() && k >= 0.0), || Fault::config("`kappa` must be 0 or more"))?;
        bail_if(self.target != Target::Own && self.stream == Stream::Dense, || {
            Fault::config("on the dense stream a module has one target, its own output")
                .help("leave `target` at `own`, or set `stream: pruned`")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dampings_climb_by_tens_and_auto_begins_with_the_candidates() {
        let rounds = |damping| Search::Damped(damping).rounds();
        assert_eq!(rounds(Damping::Fixed(1.0)), [[1.0], [10.0]]);
        assert_eq!(rounds(Damping::Fixed(0.0))[..2], [[0.0], [1e-6]]);
        assert_eq!(rounds(Damping::Auto), [CANDIDATES.to_vec(), vec![1.0], vec![10.0]]);
        assert!(Search::Cut.rounds().is_empty() && Search::Once.report(0.0).is_none());
    }

    #[test]
    fn what_is_not_judged_needs_one_repair_to_make() {
        let options = |search| Options::own(SaveAs::Auto, search, Stream::Dense).unjudged(Unjudged::Repair);
        let [fixed, auto] = [Damping::Fixed(0.5), Damping::Auto].map(Search::Damped);
        assert_eq!(
            [fixed.only(), Search::Once.only(), auto.only(), Search::Cut.only()],
            [Some(0.5), Some(0.0), None, None]
        );
        assert!(options(fixed).check().is_ok() && options(Search::Once).check().is_ok());
        let error = options(auto).check().unwrap_err();
        assert!(error.what().contains("`unjudged: repair` needs a number"), "{error}");
    }
}
