//! Kinds of rotary scaling, and the keys of each, both ways.

use oops_core::{Fault, Result, bail_if};
use serde_json::{Value, json};

use super::{
    super::json::{missing, wrong},
    Found, ORIGINAL, POSITIONS,
};
use crate::RopeScaling;

/// Keys that each kind reads beside `rope_type`, `type`, `rope_theta` and `partial_rotary_factor`.
const KINDS: [(&str, &[&str]); 6] = [
    ("default", &[]),
    ("linear", &["factor"]),
    ("dynamic", &["factor"]),
    ("llama3", &["factor", "low_freq_factor", "high_freq_factor", ORIGINAL]),
    (
        "yarn",
        &["factor", ORIGINAL, "attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"],
    ),
    ("longrope", &["factor", ORIGINAL, "attention_factor", "short_factor", "long_factor"]),
];
const COMMON: [&str; 4] = ["rope_type", "type", "rope_theta", "partial_rotary_factor"];

impl Found<'_> {
    pub(super) fn scaling(&self) -> Result<RopeScaling> {
        let factor = || self.need("factor");
        match self.kind()? {
            "linear" => Ok(RopeScaling::Linear { factor: factor()? }),
            "dynamic" => Ok(RopeScaling::Dynamic { factor: factor()?, original_max_position: self.max_position }),
            "llama3" => self.llama3(),
            "yarn" => self.yarn(),
            "longrope" => self.longrope(),
            _ => Ok(RopeScaling::None),
        }
    }

    /// The kind: one of [`KINDS`].
    fn kind(&self) -> Result<&'static str> {
        let text = |key: &str| match self.dict.0.get(key) {
            None => Ok(None),
            Some(Value::String(s)) => Ok(Some(s.as_str())),
            Some(other) => Err(wrong(key, other, "a text")),
        };
        let (new, old) = (text("rope_type")?, text("type")?);
        bail_if(new.zip(old).is_some_and(|(a, b)| a != b), || {
            Fault::data(format!("`{}` has a `rope_type` and another `type`", self.name))
                .help("versions of transformers differ in which counts: keep one")
        })?;
        let stated = new.or(old);
        bail_if(stated.is_none() && self.dict.get("factor").is_some(), || {
            Fault::data(format!("`{}` has a `factor` and no `rope_type`", self.name))
        })?;
        let kind = stated.unwrap_or("default");
        let known = KINDS.map(|k| k.0);
        known.into_iter().find(|k| *k == kind).ok_or_else(|| {
            Fault::data(format!("`rope_type` of `{}` is `{kind}`, which is not supported", self.name))
                .help(format!("supported rotary scalings: {}", known.join(", ")))
        })
    }

    /// Whether the kind asks for the context length before stretching.
    pub(super) fn has_original(&self) -> Result<bool> {
        let kind = self.kind()?;
        Ok(KINDS.iter().any(|k| k.0 == kind && k.1.contains(&ORIGINAL)))
    }

    /// A warning that names the keys that the kind does not read.
    pub(super) fn unread(&self) -> Result<Option<String>> {
        let kind = self.kind()?;
        let read = |key: &str| COMMON.contains(&key) || KINDS.iter().any(|k| k.0 == kind && k.1.contains(&key));
        let unread: Vec<String> = self.dict.0.keys().filter(|k| !read(k)).map(|k| format!("`{k}`")).collect();
        let what = || format!("`{}` of type {kind} has keys without effect: {}", self.name, unread.join(", "));
        Ok((!unread.is_empty()).then(what))
    }

    fn need(&self, key: &str) -> Result<f64> {
        self.dict.positive(key)?.ok_or_else(|| missing(key).at(format!("`{}`", self.name)))
    }

    /// A number that is taken as absent when it is 0.
    fn truthy(&self, key: &str) -> Result<Option<f64>> {
        match self.dict.get(key).and_then(Value::as_f64) {
            Some(0.0) => Ok(None),
            _ => self.dict.positive(key),
        }
    }

    fn original(&self) -> Result<usize> {
        Ok(self.original.or(self.dict.count(ORIGINAL, POSITIONS)?).unwrap_or(self.max_position))
    }

    fn llama3(&self) -> Result<RopeScaling> {
        let (low_freq_factor, high_freq_factor) = (self.need("low_freq_factor")?, self.need("high_freq_factor")?);
        bail_if(low_freq_factor >= high_freq_factor, || {
            Fault::data("`low_freq_factor` must be below `high_freq_factor`")
        })?;
        let (factor, original_max_position) = (self.need("factor")?, self.original()?);
        Ok(RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position })
    }

    fn yarn(&self) -> Result<RopeScaling> {
        let factor = self.need("factor")?;
        let scale = |m: f64| if factor <= 1.0 { 1.0 } else { 0.1 * m * factor.ln() + 1.0 };
        let implied = match (self.truthy("mscale")?, self.truthy("mscale_all_dim")?) {
            (Some(m), Some(all)) => scale(m) / scale(all),
            _ => scale(1.0),
        };
        let truncate = match self.dict.0.get("truncate") {
            None => true,
            Some(value) => value.as_bool().ok_or_else(|| wrong("truncate", value, "true or false"))?,
        };
        Ok(RopeScaling::Yarn {
            factor,
            original_max_position: self.original()?,
            beta_fast: self.truthy("beta_fast")?.unwrap_or(32.0),
            beta_slow: self.truthy("beta_slow")?.unwrap_or(1.0),
            truncate,
            attention_factor: self.dict.positive("attention_factor")?.unwrap_or(implied),
        })
    }

    /// Supported where long and short texts are divided alike: then it is a list of divisors.
    fn longrope(&self) -> Result<RopeScaling> {
        let list = |key: &str| -> Result<Vec<f32>> {
            let value = self.dict.get(key).ok_or_else(|| missing(key).at(format!("`{}`", self.name)))?;
            let numbers: Option<Vec<f64>> = value.as_array().and_then(|l| l.iter().map(Value::as_f64).collect());
            let numbers = numbers.filter(|l| l.len() == self.head_dim / 2 && l.iter().all(|x| *x > 0.0));
            let numbers = numbers
                .ok_or_else(|| wrong(key, value, &format!("a list of {} positive numbers", self.head_dim / 2)))?;
            Ok(numbers.into_iter().map(|x| x as f32).collect())
        };
        let (divisors, long) = (list("short_factor")?, list("long_factor")?);
        bail_if(divisors != long, || {
            Fault::data("`short_factor` and `long_factor` differ: frequencies would depend on the length of the text")
        })?;
        let original = self.original()? as f64;
        let factor = self.dict.positive("factor")?.unwrap_or(self.max_position as f64 / original);
        let implied = if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / original.ln()).sqrt() };
        let stated = self.dict.positive("attention_factor")?;
        bail_if(stated.is_none() && self.original.is_some(), || {
            Fault::data(format!("`{ORIGINAL}` stands beside `{}` of type longrope", self.name))
                .help("versions of transformers differ in what follows from it: state `attention_factor`")
        })?;
        Ok(RopeScaling::Divisors { divisors, attention_factor: stated.unwrap_or(implied) })
    }
}

/// `rope_scaling` of config.json; `max_position` is the model's.
pub(in super::super) fn write(scaling: &RopeScaling, max_position: usize) -> Value {
    match scaling {
        RopeScaling::None => Value::Null,
        RopeScaling::Linear { factor } => json!({ "rope_type": "linear", "factor": factor }),
        RopeScaling::Dynamic { factor, .. } => json!({ "rope_type": "dynamic", "factor": factor }),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position } => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor,
            "original_max_position_embeddings": original_max_position,
        }),
        RopeScaling::Yarn { factor, original_max_position, beta_fast, beta_slow, truncate, attention_factor } => {
            json!({
                "rope_type": "yarn",
                "factor": factor,
                "original_max_position_embeddings": original_max_position,
                "attention_factor": attention_factor,
                "beta_fast": beta_fast,
                "beta_slow": beta_slow,
                "truncate": truncate,
            })
        }
        RopeScaling::Divisors { divisors, attention_factor } => json!({
            "rope_type": "longrope",
            "factor": 1.0,
            "short_factor": divisors,
            "long_factor": divisors,
            "original_max_position_embeddings": max_position,
            "attention_factor": attention_factor,
        }),
    }
}
