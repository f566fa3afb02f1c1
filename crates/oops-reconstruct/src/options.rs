//! What the methods' parameters have in common.

use std::{borrow::Cow, fmt};

use oops_core::{Fault, Result, bail_if};
use oops_model::SaveAs;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Dampings that `auto` tries first.
const CANDIDATES: [f64; 4] = [1e-4, 1e-3, 1e-2, 1e-1];

/// Damping above which a repair is as good as none.
const MOST_DAMPING: f64 = 10.0;

/// λ, relative to the mean of diag H_SS: a number, or `auto` for the best of 1e-4 … 1e-1 on held-out tokens, 1e-3 without such.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Damping {
    Fixed(f64),
    Auto,
}

impl Damping {
    /// Of methods that solve everything anew per λ; within a percent of the best in perplexity on SmolLM2-135M.
    pub(crate) const DEFAULT: Self = Self::Fixed(1e-3);

    /// Fails unless the number is in range.
    pub(crate) fn check(self) -> Result<()> {
        let Self::Fixed(value) = self else { return Ok(()) };
        bail_if(!(0.0..=MOST_DAMPING).contains(&value), || {
            Fault::config(format!("`damping` is {value}, but must be in 0…{MOST_DAMPING}, or `auto`"))
        })
    }
}

impl Serialize for Damping {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::Fixed(value) => serializer.serialize_f64(*value),
            Self::Auto => serializer.serialize_str("auto"),
        }
    }
}

impl<'de> Deserialize<'de> for Damping {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Damping;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or `auto`")
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> std::result::Result<Damping, E> {
                Ok(Damping::Fixed(value))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> std::result::Result<Damping, E> {
                Ok(Damping::Fixed(value as f64))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> std::result::Result<Damping, E> {
                Ok(Damping::Fixed(value as f64))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> std::result::Result<Damping, E> {
                if value == "auto" {
                    Ok(Damping::Auto)
                } else {
                    Err(E::invalid_value(de::Unexpected::Str(value), &self))
                }
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Damping {
    fn schema_name() -> Cow<'static, str> {
        "Damping".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "number" }, { "const": "auto" }] })
    }
}

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
    /// Without tokens that were held out `auto` has nothing to choose by: on the fitted ones the least damping always wins.
    pub(crate) fn rounds(&self, heldout: bool) -> Vec<Vec<f64>> {
        let climb = |from: f64| {
            let next = |&l: &f64| Some(if l == 0.0 { 1e-6 } else { 10.0 * l });
            std::iter::successors(Some(from), next).take_while(|&l| l <= MOST_DAMPING).map(|l| vec![l])
        };
        match self {
            Self::Cut => Vec::new(),
            Self::Once => vec![vec![0.0]],
            Self::Damped(Damping::Fixed(value)) => climb(*value).collect(),
            Self::Damped(Damping::Auto) if !heldout => Self::Damped(Damping::DEFAULT).rounds(heldout),
            Self::Damped(Damping::Auto) => std::iter::once(CANDIDATES.to_vec()).chain(climb(1.0)).collect(),
        }
    }

    /// The damping as reports give it.
    pub(crate) fn report(&self, damping: f64) -> Option<f64> {
        matches!(self, Self::Damped(_)).then_some(damping)
    }
}

/// Parameters of a method that has a damping and nothing of its own.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DampedParams {
    /// λ, relative to the mean of the diagonal that it is added to, or `auto`: the best of 1e-4 … 1e-1 on the held-out
    /// tokens, 1e-3 without such.
    damping: Damping,
    /// Activations to fit on: `dense` (from the statistics) or `pruned` (walks the tokens through what is repaired so far).
    stream: Stream,
    /// Precision of the written weights: `auto` (as the source; f32 for quantised ones), `f32`, `f16`, `bf16`.
    dtype: SaveAs,
}

impl Default for DampedParams {
    fn default() -> Self {
        Self { damping: Damping::DEFAULT, stream: Stream::Dense, dtype: SaveAs::Auto }
    }
}

impl DampedParams {
    /// What they say to the loop over blocks.
    pub(crate) fn options(&self) -> Options {
        Options::own(self.dtype, Search::Damped(self.damping), self.stream)
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
        Self { dtype, search, stream, target: Target::Own, kappa: 0.0, joint: None }
    }

    /// Checks what the method's own check need not know of.
    pub(crate) fn check(&self) -> Result<()> {
        if let Search::Damped(damping) = self.search {
            damping.check()?;
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
        let rounds = |damping| Search::Damped(damping).rounds(true);
        assert_eq!(rounds(Damping::Fixed(1.0)), [[1.0], [10.0]]);
        assert_eq!(rounds(Damping::Fixed(0.0))[..2], [[0.0], [1e-6]]);
        assert_eq!(rounds(Damping::Auto), [CANDIDATES.to_vec(), vec![1.0], vec![10.0]]);
        assert_eq!(Search::Damped(Damping::Auto).rounds(false), Search::Damped(Damping::DEFAULT).rounds(true));
        assert!(Search::Cut.rounds(true).is_empty() && Search::Once.report(0.0).is_none());
    }

    #[test]
    fn damping_is_a_number_or_auto() {
        let parse = serde_json::from_str::<Damping>;
        assert_eq!(parse("0.5").unwrap(), Damping::Fixed(0.5));
        assert_eq!(parse("1").unwrap(), Damping::Fixed(1.0));
        assert_eq!(parse("\"auto\"").unwrap(), Damping::Auto);
        let error = parse("\"best\"").unwrap_err().to_string();
        assert!(error.contains("expected a number or `auto`"), "{error}");
        assert_eq!(serde_json::to_string(&[Damping::Auto, Damping::DEFAULT]).unwrap(), "[\"auto\",0.001]");
        assert!(Damping::Fixed(11.0).check().is_err() && Damping::Fixed(f64::NAN).check().is_err());
    }
}
