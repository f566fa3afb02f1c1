//! The families of decoders that we read, one declarative descriptor each.
//!
//! All share the LLaMA block and its tensor names; a descriptor says where a family departs from it.

use oops_core::{Fault, Result, nearest};
use serde::{Deserialize, Serialize};

/// A family of LLaMA-shaped decoders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Family {
    /// LLaMA 1–3 and everything with its architecture.
    Llama,
    /// Mistral: LLaMA with a sliding window.
    Mistral,
    /// Qwen2: biases on q, k and v.
    Qwen2,
    /// Qwen3: RMSNorm on each query and key head.
    Qwen3,
}

/// What sets a family apart.
pub(crate) struct Descriptor {
    pub(crate) family: Family,
    /// `model_type` in config.json.
    pub(crate) model_type: &'static str,
    /// The class named under `architectures`.
    pub(crate) class: &'static str,
    /// q, k and v have biases although no configuration key says so.
    pub(crate) qkv_bias: bool,
    /// Query and key heads are normalised before they turn.
    pub(crate) qk_norm: bool,
    /// How config.json asks for a sliding window.
    pub(crate) window: WindowRule,
    /// Channels per head when config.json does not say; `None` = hidden / query heads.
    pub(crate) head_dim: Option<usize>,
    /// Key/value heads when config.json does not say; `None` = query heads.
    pub(crate) kv_heads: Option<usize>,
    /// Longest sequence when config.json does not say, in tokens.
    pub(crate) max_position: usize,
}

/// How a family's configuration asks for a sliding window.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum WindowRule {
    /// Never.
    None,
    /// `sliding_window` is a number.
    Stated,
    /// `use_sliding_window` is true, in blocks from `max_window_layers` on.
    Enabled,
}

const DESCRIPTORS: [Descriptor; 4] = [
    Descriptor {
        family: Family::Llama,
        model_type: "llama",
        class: "LlamaForCausalLM",
        qkv_bias: false,
        qk_norm: false,
        window: WindowRule::None,
        head_dim: None,
        kv_heads: None,
        max_position: 2048,
    },
    Descriptor {
        family: Family::Mistral,
        model_type: "mistral",
        class: "MistralForCausalLM",
        qkv_bias: false,
        qk_norm: false,
        window: WindowRule::Stated,
        head_dim: None,
        kv_heads: Some(8),
        max_position: 131_072,
    },
    Descriptor {
        family: Family::Qwen2,
        model_type: "qwen2",
        class: "Qwen2ForCausalLM",
        qkv_bias: true,
        qk_norm: false,
        window: WindowRule::Enabled,
        head_dim: None,
        kv_heads: Some(32),
        max_position: 32_768,
    },
    Descriptor {
        family: Family::Qwen3,
        model_type: "qwen3",
        class: "Qwen3ForCausalLM",
        qkv_bias: false,
        qk_norm: true,
        window: WindowRule::Enabled,
        head_dim: Some(128),
        kv_heads: Some(32),
        max_position: 32_768,
    },
];

impl Family {
    pub(crate) fn descriptor(self) -> &'static Descriptor {
        // The table lists the variants in the order in which they are declared; a test holds it to that.
        &DESCRIPTORS[self as usize]
    }

    /// The family with this `model_type`.
    pub(crate) fn from_model_type(model_type: &str) -> Result<&'static Descriptor> {
        DESCRIPTORS.iter().find(|d| d.model_type == model_type).ok_or_else(|| {
            let known = DESCRIPTORS.map(|d| d.model_type);
            let hint = nearest(model_type, known).map(|n| format!("; did you mean `{n}`?")).unwrap_or_default();
            Fault::data(format!("models of type `{model_type}` are not supported"))
                .help(format!("supported model types: {}{hint}", known.join(", ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_variants() {
        for family in [Family::Llama, Family::Mistral, Family::Qwen2, Family::Qwen3] {
            assert_eq!(family.descriptor().family, family);
        }
    }

    #[test]
    fn an_unknown_type_names_the_known_ones() {
        let fault = Family::from_model_type("gemma").err().unwrap();
        assert!(fault.to_string().contains("llama, mistral, qwen2, qwen3"));
        assert_eq!(Family::from_model_type("qwen3").ok().unwrap().family, Family::Qwen3);
    }
}
