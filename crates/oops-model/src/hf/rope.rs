//! Rotary parameters in config.json: `rope_theta` and `rope_scaling` (transformers 4) or `rope_parameters`
//! (transformers 5).
//!
//! What counts is what transformers 5.24 makes of the file: a `rope_scaling` that holds anything takes the place of all of
//! `rope_parameters`; θ inside counts before `rope_theta`, and a top-level `original_max_position_embeddings` before the
//! one inside. Where a file has keys of transformers 4 and 4.57 would make another encoding of them, a warning says so.

mod kinds;

pub(super) use kinds::write;

use oops_core::{Fault, Result, bail_if};
use serde_json::{Map, Value};

use super::json::{Keys, wrong};
use crate::Rope;

const DEFAULT_THETA: f64 = 10_000.0;
const POSITIONS: std::ops::RangeInclusive<u64> = 1..=1 << 32;
const ORIGINAL: &str = "original_max_position_embeddings";

/// One version's way to find the parameters.
struct Found<'a> {
    /// Where they are, for messages.
    name: &'static str,
    dict: Keys<'a>,
    /// Context length before stretching that counts before the one inside.
    original: Option<usize>,
    max_position: usize,
    head_dim: usize,
}

/// Reads the encoding of heads of `head_dim` channels; `max_position` stands in for an original length that is not given.
pub(super) fn read(config: Keys<'_>, max_position: usize, head_dim: usize, warnings: &mut Vec<String>) -> Result<Rope> {
    let none = Map::new();
    let (name, dict) = parameters(config, &none)?;
    whole_heads(config)?;
    whole_heads(dict)?;
    bail_if(dict.0.values().any(Value::is_object), || {
        Fault::data(format!("`{name}` differs between blocks")).help("one encoding for all blocks is supported")
    })?;
    bail_if(config.0.get("rope_theta").is_some_and(Value::is_null), || wrong("rope_theta", &Value::Null, "a number"))?;
    let outer = config.positive("rope_theta")?.unwrap_or(DEFAULT_THETA);
    let theta = dict.positive("rope_theta")?.unwrap_or(outer);
    let original = config.count(ORIGINAL, POSITIONS)?;
    let found = Found { name, dict, original, max_position, head_dim };
    let scaling = found.scaling()?;
    bail_if(original.is_none() && config.0.contains_key(ORIGINAL) && found.has_original()?, || {
        wrong(ORIGINAL, &Value::Null, "a whole number, or absent")
    })?;
    warnings.extend(found.unread()?);
    let rope = Rope { theta, scaling };
    let finite = |f: &f64| f.is_finite();
    bail_if(!rope.frequencies(head_dim).iter().all(finite) || !rope.attention_factor().is_finite(), || {
        Fault::data(format!("`{name}` and `rope_theta` {theta} make frequencies that are not finite"))
    })?;
    warnings.extend(older(config, outer, max_position, head_dim).filter(|old| *old != rope).map(|_| {
        format!(
            "rotary encoding: transformers 4.57 makes another one of this config.json than 5.24, which is followed \
             (`{name}`, θ = {theta}); keep either `rope_theta` and `rope_scaling`, or `rope_parameters`, and no \
             `{ORIGINAL}` beside them"
        )
    }));
    Ok(rope)
}

/// The parameters and where they are.
fn parameters<'a>(config: Keys<'a>, none: &'a Map<String, Value>) -> Result<(&'static str, Keys<'a>)> {
    let object = |key: &'static str| match config.get(key) {
        None => Ok(None),
        Some(value) => value.as_object().map(Some).ok_or_else(|| wrong(key, value, "an object")),
    };
    let (new, old) = (object("rope_parameters")?, object("rope_scaling")?);
    Ok(match old.filter(|o| !o.is_empty()) {
        Some(old) => ("rope_scaling", Keys(old)),
        None => ("rope_parameters", Keys(new.unwrap_or(none))),
    })
}

fn whole_heads(keys: Keys<'_>) -> Result<()> {
    let key = "partial_rotary_factor";
    bail_if(keys.0.get(key).is_some_and(|v| v.as_f64().is_none_or(|x| (x - 1.0).abs() > 1e-9)), || {
        wrong(key, &keys.0[key], "1: heads that turn in part are not supported")
    })
}

/// What transformers 4.57 reads, if the file has any of its keys and they make sense to it.
fn older(config: Keys<'_>, theta: f64, max_position: usize, head_dim: usize) -> Option<Rope> {
    let none = Map::new();
    let scaling = config.get("rope_scaling");
    if scaling.is_none() && config.get("rope_theta").is_none() {
        return None;
    }
    let dict = Keys(scaling.map_or(Some(&none), Value::as_object)?);
    let found = Found { name: "rope_scaling", dict, original: None, max_position, head_dim };
    Some(Rope { theta, scaling: found.scaling().ok()? })
}

#[cfg(test)]
mod tests;
