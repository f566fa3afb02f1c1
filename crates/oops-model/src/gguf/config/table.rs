//! Metadata keys that llama.cpp reads for architectures of ours (its generic reader and the one of each architecture), and
//! keys of other architectures that are found in files by mistake, with what becomes of each here.
//!
//! Names are those after `<architecture>.`. A key that is not listed is unknown to these architectures: neither llama.cpp
//! nor we read it, and a warning names it. `general.*`, `tokenizer.*` and the like hold no mathematics.

use oops_core::{Fault, Result, bail_if};

use super::super::metadata::Metadata;

/// Read by [`super::read`] and [`super::super::rope`].
const READ: [&str; 18] = [
    "context_length",
    "embedding_length",
    "block_count",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "attention.sliding_window",
    "expert_count",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scale_linear",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.attn_factor",
    "rope.scaling.original_context_length",
];

/// Without influence: the embedding tells its own rows; the rest is read only where there are experts, or YaRN (which is
/// refused by its type and by its extrapolation), or by programs around the model.
const IDLE: [&str; 8] = [
    "vocab_size",
    "expert_used_count",
    "rope.scaling.finetuned",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "rope.scaling.yarn_log_multiplier",
    "tensor_data_layout",
    "pooling_type",
];

/// llama.cpp multiplies turned queries and keys by it whatever the kind of scaling: refused unless 1.
const ONLY_ONE: &str = "rope.scaling.yarn_attn_factor";

/// Would change the function: refused unless 0 or false, which mean "not there".
const ONLY_ZERO: [&str; 28] = [
    "use_parallel_residual",
    "hidden_activation",
    "num_loops",
    "attention.value_scale",
    "rope.scaling.alpha",
    "rope.scaling.yarn_ext_factor",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "router_logit_softcapping",
    "attention.scale",
    "attention.output_scale",
    "attention.temperature_length",
    "attention.temperature_scale",
    "attention.max_alibi_bias",
    "attention.clamp_kqv",
    "attention.chunk_size",
    "attention.sliding_window_pattern",
    "attention.shared_kv_layers",
    "attention.key_length_swa",
    "attention.value_length_swa",
    "rope.freq_base_swa",
    "rope.dimension_count_swa",
    "rope.dimension_sections",
    "logit_scale",
    "residual_scale",
    "embedding_scale",
    "nextn_predict_layers",
    "expert_shared_count",
];

/// Holds every key of architecture `arch` to its rule; what is passed over but should be known goes to `warnings`.
pub(super) fn check(m: &Metadata, arch: &str, warnings: &mut Vec<String>) -> Result<()> {
    let causal = format!("{arch}.attention.causal");
    bail_if(m.boolean(&causal)? == Some(false), || {
        Fault::data("attention to later tokens is not supported")
            .at(format!("metadata `{causal}`"))
            .help("it must be true, or absent")
    })?;
    let mut unknown = Vec::new();
    for key in m.keys() {
        let Some(name) = key.strip_prefix(arch).and_then(|k| k.strip_prefix('.')) else { continue };
        if name == ONLY_ONE {
            refuse_unless(m, key, 1.0)?;
        } else if ONLY_ZERO.contains(&name) {
            refuse_unless(m, key, 0.0)?;
        } else if name != "attention.causal" && !READ.contains(&name) && !IDLE.contains(&name) {
            unknown.push(format!("`{key}`"));
        }
    }
    if !unknown.is_empty() {
        warnings.push(format!("metadata that {arch} does not know and that are passed over: {}", unknown.join(", ")));
    }
    Ok(())
}

fn refuse_unless(m: &Metadata, key: &str, harmless: f64) -> Result<()> {
    let number = m.float(key).ok().flatten().or(m.boolean(key).ok().flatten().map(|b| f64::from(u8::from(b))));
    bail_if(number != Some(harmless), || {
        Fault::data("the key changes the function and is not supported")
            .at(format!("metadata `{key}`"))
            .help(format!("models of this architecture are supported without it, or with {harmless}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::{
        container::Container,
        testing::{Gguf, bytes_of},
    };

    fn said(g: Gguf) -> Result<Vec<String>> {
        let mut warnings = Vec::new();
        check(&Container::read(bytes_of(g.bytes()))?.metadata, "llama", &mut warnings)?;
        Ok(warnings)
    }

    #[test]
    fn keys_are_read_passed_over_warned_of_or_refused() {
        assert!(said(Gguf::new().unsigned("llama.vocab_size", 5).unsigned("qwen2.flavour", 1)).unwrap().is_empty());
        assert!(said(Gguf::new().boolean("llama.attention.causal", true)).unwrap().is_empty());
        assert!(said(Gguf::new().unsigned("llama.flavour", 1)).unwrap()[0].contains("`llama.flavour`"));
        assert!(said(Gguf::new().float("llama.logit_scale", 0.0)).unwrap().is_empty());
        assert!(said(Gguf::new().boolean("llama.use_parallel_residual", false)).unwrap().is_empty());
        assert!(said(Gguf::new().float("llama.rope.scaling.yarn_attn_factor", 1.0)).unwrap().is_empty());
        for g in [
            Gguf::new().boolean("llama.attention.causal", false),
            Gguf::new().float("llama.logit_scale", 0.5),
            Gguf::new().float("llama.rope.scaling.yarn_attn_factor", 0.5),
            Gguf::new().boolean("llama.use_parallel_residual", true),
            Gguf::new().integers("llama.rope.dimension_sections", &[1, 2]),
        ] {
            let fault = said(g).unwrap_err().to_string();
            assert!(fault.contains("metadata `llama."), "{fault}");
        }
    }
}
