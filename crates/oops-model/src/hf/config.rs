//! config.json of transformers 4 and 5 to [`ModelConfig`].

mod table;
mod widths;
mod window;

use oops_core::{Fault, ModelDims, Result, bail_if};
use serde_json::{Map, Value};

use super::{
    json::{Keys, missing, wrong},
    rope,
};
use crate::{DType, Family, ModelConfig, family::Descriptor};

/// Bound that keeps memory in proportion: far above any decoder that exists.
const WIDTH: std::ops::RangeInclusive<u64> = 1..=1 << 22;

/// What a configuration says, and what the user should know of it.
pub(crate) struct Parsed {
    /// The configuration.
    pub(crate) config: ModelConfig,
    /// Keys that are read otherwise than the user may think, or not at all: plain sentences.
    pub(crate) warnings: Vec<String>,
}

/// Reads config.json. `generation` (generation_config.json) is the authority on what ends a text, and on what begins one
/// where the tokenizer does not say; config.json is asked where it names none. The stored precision is the files' to tell.
pub(crate) fn read(config: &Map<String, Value>, generation: &Map<String, Value>, dtype: DType) -> Result<Parsed> {
    let (keys, generation) = (Keys(config), Keys(generation));
    let named = match keys.text("model_type")? {
        // Our own remote code names the family that it builds on, also where it goes by the name of vLLM's class.
        Some("oops") => keys.text("base_model_type")?.ok_or_else(|| missing("base_model_type"))?,
        Some("nemotron-nas") => keys.text("base_model_type")?.unwrap_or("nemotron-nas"),
        other => other.ok_or_else(|| missing("model_type"))?,
    };
    let family = Family::from_model_type(named)?;
    let mut warnings = Vec::new();
    table::check(config, family.family, &mut warnings)?;
    refuse(keys)?;
    let blocks = widths::blocks(keys, family)?;
    let (hidden, vocab) = (keys.need_count("hidden_size", WIDTH)?, keys.need_count("vocab_size", 1..=1 << 28)?);
    warnings.extend(indivisible(keys, family, hidden));
    padding(keys, vocab)?;
    let max_position = keys.count("max_position_embeddings", 1..=1 << 32)?.unwrap_or(family.max_position);
    let head_dim = blocks.first().map_or(0, |b| b.head_dim);
    let special = |key: &str| -> Result<Vec<u32>> {
        let own = keys.token_ids(key)?;
        Ok(Some(generation.token_ids(key)?).filter(|ids| !ids.is_empty()).unwrap_or(own))
    };
    let config = ModelConfig {
        family: family.family,
        sliding_window: window::read(keys, family, blocks.len())?,
        dims: ModelDims { hidden, vocab, tied: keys.flag("tie_word_embeddings", false)?, gated: true, blocks },
        norm_eps: norm_eps(keys)?,
        rope: rope::read(keys, max_position, head_dim, &mut warnings)?,
        max_position,
        bos: special("bos_token_id")?.first().copied(),
        eos: special("eos_token_id")?,
        dtype,
    };
    Ok(Parsed { config, warnings })
}

fn refuse(keys: Keys<'_>) -> Result<()> {
    let act = keys.text("hidden_act")?.unwrap_or("silu");
    bail_if(act != "silu" && act != "swish", || {
        Fault::data(format!("`hidden_act` is `{act}`")).help("supported activation: silu")
    })?;
    for bias in ["attention_bias", "mlp_bias"] {
        keys.flag(bias, false)?;
    }
    // transformers' own classes refuse widths of blocks under this key; where our code wrote it, it wrote `block_widths`.
    bail_if(!is_ours(keys) && keys.get("per_layer_config").is_some(), || {
        Fault::data("`per_layer_config` beside a `model_type` whose class in transformers does not take it")
    })
}

/// Whether the file is written by us: for code of ours, or with a key of ours.
fn is_ours(keys: Keys<'_>) -> bool {
    ["block_widths", "base_model_type", super::biases::KEY].iter().any(|k| keys.get(k).is_some())
}

fn norm_eps(keys: Keys<'_>) -> Result<f64> {
    let value = keys.positive("rms_norm_eps")?;
    let whole = keys.get("rms_norm_eps").filter(|v| !v.is_f64());
    whole.map_or(Ok(value.unwrap_or(1e-6)), |v| Err(wrong("rms_norm_eps", v, "a number with a decimal point")))
}

/// The one thing that transformers 5 refuses and 4 computes that we read, with this warning.
fn indivisible(keys: Keys<'_>, family: &Descriptor, hidden: usize) -> Option<String> {
    let heads = keys.count("num_attention_heads", WIDTH).ok().flatten()?;
    let refused = family.family == Family::Llama && !is_ours(keys) && !hidden.is_multiple_of(heads);
    refused.then(|| {
        format!(
            "`hidden_size` ({hidden}) is not a multiple of `num_attention_heads` ({heads}): transformers 5 refuses to load \
             this model as llama; `model_type` mistral with `sliding_window` null is the same function"
        )
    })
}

/// An embedding refuses a padding token outside of it (negative ones count from its end).
fn padding(keys: Keys<'_>, vocab: usize) -> Result<()> {
    let Some(value) = keys.get("pad_token_id") else { return Ok(()) };
    let range = -(vocab as i64)..vocab as i64;
    let inside = value.as_i64().is_some_and(|id| range.contains(&id));
    bail_if(!inside, || wrong("pad_token_id", value, &format!("below `vocab_size` {vocab}, or null")))
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod differential;
