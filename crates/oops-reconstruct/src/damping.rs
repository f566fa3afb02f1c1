//! The damping of a repair: a number, or `auto`.

use std::{borrow::Cow, fmt};

use oops_core::{Fault, Result, bail_if};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Damping above which a repair is as good as none.
pub(crate) const MOST_DAMPING: f64 = 10.0;

/// λ, relative to the mean of diag H_SS: a number, or `auto` for the best of 1e-4 … 1e-1 on held-out tokens.
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

#[cfg(test)]
mod tests {
    use super::*;

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
