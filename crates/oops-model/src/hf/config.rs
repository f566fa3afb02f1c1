//! config.json of transformers 4 and 5 to [`ModelConfig`].

mod widths;

use oops_core::{Fault, ModelDims, Result, bail_if};
use serde_json::{Map, Value};

use super::{
    json::{Keys, missing, wrong},
    rope,
};
use crate::{
    DType, Family, ModelConfig,
    family::{Descriptor, WindowRule},
};

/// Bound that keeps memory in proportion: far above any decoder that exists.
const WIDTH: std::ops::RangeInclusive<u64> = 1..=1 << 22;

/// Reads config.json. `generation` (generation_config.json) is the authority on what ends a text, and on what begins one
/// where the tokenizer does not say; config.json is asked where it names none. The stored precision is the files' to tell.
pub(crate) fn read(config: &Map<String, Value>, generation: &Map<String, Value>, dtype: DType) -> Result<ModelConfig> {
    let (keys, generation) = (Keys(config), Keys(generation));
    let named = match keys.text("model_type")? {
        // Our own remote code names the family that it builds on, also where it goes by the name of vLLM's class.
        Some("oops") => keys.text("base_model_type")?.ok_or_else(|| missing("base_model_type"))?,
        Some("nemotron-nas") => keys.text("base_model_type")?.unwrap_or("nemotron-nas"),
        other => other.ok_or_else(|| missing("model_type"))?,
    };
    let family = Family::from_model_type(named)?;
    refuse(keys)?;
    let blocks = widths::blocks(keys, family)?;
    let max_position = keys.count("max_position_embeddings", 1..=1 << 32)?.unwrap_or(2048);
    let special = |key: &str| match generation.token_ids(key)? {
        ids if ids.is_empty() => keys.token_ids(key),
        ids => Ok(ids),
    };
    Ok(ModelConfig {
        family: family.family,
        sliding_window: window(keys, family, blocks.len())?,
        dims: ModelDims {
            hidden: keys.need_count("hidden_size", WIDTH)?,
            vocab: keys.need_count("vocab_size", 1..=1 << 28)?,
            tied: keys.flag("tie_word_embeddings", false)?,
            gated: true,
            blocks,
        },
        norm_eps: keys.positive("rms_norm_eps")?.unwrap_or(1e-6),
        rope: rope::read(keys, max_position)?,
        max_position,
        bos: special("bos_token_id")?.first().copied(),
        eos: special("eos_token_id")?,
        dtype,
    })
}

fn refuse(keys: Keys<'_>) -> Result<()> {
    let act = keys.text("hidden_act")?.unwrap_or("silu");
    bail_if(act != "silu" && act != "swish", || {
        Fault::data(format!("`hidden_act` is `{act}`")).help("supported activation: silu")
    })?;
    bail_if(keys.get("quantization_config").is_some(), || {
        Fault::data("the weights are quantised (`quantization_config`)")
            .help("use the checkpoint before quantisation in f32, f16 or bf16, or a GGUF file")
    })
}

/// The sliding window, the same in every block or none at all.
fn window(keys: Keys<'_>, family: &Descriptor, blocks: usize) -> Result<Option<usize>> {
    let window = keys.count("sliding_window", 1..=1 << 32)?;
    let enabled = match family.window {
        WindowRule::None => false,
        WindowRule::Stated => window.is_some(),
        WindowRule::Enabled => keys.flag("use_sliding_window", false)? && window.is_some(),
    };
    if !enabled {
        return Ok(None);
    }
    let sliding = match keys.get("layer_types") {
        Some(listed) => {
            let list = listed.as_array().filter(|l| l.len() == blocks);
            let list = list.ok_or_else(|| wrong("layer_types", listed, &format!("a list of {blocks} entries")))?;
            list.iter().filter(|v| v.as_str() == Some("sliding_attention")).count()
        }
        None if family.window == WindowRule::Stated => blocks,
        None => blocks.saturating_sub(keys.count("max_window_layers", 0..=1 << 32)?.unwrap_or(0)),
    };
    bail_if(sliding != 0 && sliding != blocks, || {
        Fault::data(format!("{sliding} of {blocks} blocks have a sliding window"))
            .help("supported: a sliding window in all blocks or in none")
    })?;
    Ok(window.filter(|_| sliding > 0))
}

#[cfg(test)]
mod tests;
