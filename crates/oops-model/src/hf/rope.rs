//! Rotary parameters in config.json: `rope_theta` and `rope_scaling` (transformers 4) or `rope_parameters`
//! (transformers 5).

use oops_core::{Fault, Result, bail_if};
use serde_json::{Map, Value, json};

use super::json::{Keys, missing, wrong};
use crate::{Rope, RopeScaling};

const DEFAULT_THETA: f64 = 10_000.0;
const POSITIONS: std::ops::RangeInclusive<u64> = 1..=1 << 32;

/// Reads the encoding; `max_position` stands in for an original length that is not given.
pub(super) fn read(config: Keys<'_>, max_position: usize) -> Result<Rope> {
    let none = Map::new();
    let scaling = match config.first(&["rope_parameters", "rope_scaling"]) {
        None => &none,
        Some(value) => value.as_object().ok_or_else(|| wrong("rope_parameters", value, "an object"))?,
    };
    let scaling = Keys(scaling);
    for keys in [config, scaling] {
        let turned = keys.positive("partial_rotary_factor")?.unwrap_or(1.0);
        bail_if((turned - 1.0).abs() > 1e-9, || {
            Fault::data(format!("`partial_rotary_factor` is {turned}; heads that turn in part are not supported"))
        })?;
    }
    bail_if(scaling.0.values().any(Value::is_object), || {
        Fault::data("rotary parameters that differ between blocks are not supported")
    })?;
    let theta = scaling.positive("rope_theta")?.or(config.positive("rope_theta")?).unwrap_or(DEFAULT_THETA);
    Ok(Rope { theta, scaling: read_scaling(scaling, max_position)? })
}

fn read_scaling(keys: Keys<'_>, max_position: usize) -> Result<RopeScaling> {
    let need = |key: &str| keys.positive(key)?.ok_or_else(|| missing(key));
    let kind = keys.text("rope_type")?.or(keys.text("type")?).unwrap_or("default");
    match kind {
        "default" => Ok(RopeScaling::None),
        "linear" => Ok(RopeScaling::Linear { factor: need("factor")? }),
        "llama3" => {
            let (low_freq_factor, high_freq_factor) = (need("low_freq_factor")?, need("high_freq_factor")?);
            bail_if(low_freq_factor >= high_freq_factor, || {
                Fault::data("`low_freq_factor` must be below `high_freq_factor`")
            })?;
            let original = keys.count("original_max_position_embeddings", POSITIONS)?;
            let original_max_position = original.unwrap_or(max_position);
            Ok(RopeScaling::Llama3 {
                factor: need("factor")?,
                low_freq_factor,
                high_freq_factor,
                original_max_position,
            })
        }
        other => Err(Fault::data(format!("rotary scaling of type `{other}` is not supported"))
            .help("supported rotary scalings: default, linear, llama3")),
    }
}

/// `rope_scaling` of config.json.
pub(super) fn write(scaling: &RopeScaling) -> Value {
    match *scaling {
        RopeScaling::None => Value::Null,
        RopeScaling::Linear { factor } => json!({ "rope_type": "linear", "factor": factor }),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position } => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor,
            "original_max_position_embeddings": original_max_position,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Rope> {
        read(Keys(&serde_json::from_str(text).unwrap()), 4096)
    }

    #[test]
    fn both_spellings_mean_the_same() {
        let new = r#"{"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}}"#;
        let old = r#"{"rope_theta": 500000, "rope_scaling": {"type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}}"#;
        assert_eq!(parse(new).unwrap(), parse(old).unwrap());
        let plain = parse(r#"{"rope_theta": 1e6, "rope_scaling": null}"#).unwrap();
        assert_eq!(plain, Rope { theta: 1e6, scaling: RopeScaling::None });
        let linear = parse(r#"{"rope_scaling": {"type": "linear", "factor": 4}}"#).unwrap();
        assert_eq!(linear, Rope { theta: 1e4, scaling: RopeScaling::Linear { factor: 4.0 } });
    }

    #[test]
    fn what_we_cannot_compute_is_refused() {
        for (text, word) in [
            (r#"{"rope_scaling": {"type": "yarn", "factor": 4}}"#, "yarn"),
            (r#"{"rope_parameters": {"full_attention": {"rope_theta": 1e4}}}"#, "between blocks"),
            (r#"{"partial_rotary_factor": 0.5}"#, "partial_rotary_factor"),
            (r#"{"rope_theta": -1}"#, "rope_theta"),
            (r#"{"rope_scaling": {"type": "linear"}}"#, "factor"),
            (r#"{"rope_scaling": 3}"#, "an object"),
        ] {
            assert!(parse(text).unwrap_err().to_string().contains(word), "{text}");
        }
    }
}
