//! A decoder's configuration as GGUF metadata: the inverse of [`super::super::config`] and [`super::super::rope`].

use oops_core::{Fault, Result, bail_if};

use super::{GgufFormat, GgufMeta, GgufTarget, container::Value};
use crate::{ModelConfig, Rope, RopeScaling};

/// `general.file_type` of the format's llama.cpp name.
fn file_type(format: GgufFormat) -> u32 {
    match format {
        GgufFormat::F32 => 0,
        GgufFormat::F16 => 1,
        GgufFormat::Q4_0 => 2,
        GgufFormat::Q8_0 => 7,
        GgufFormat::Bf16 => 32,
    }
}

/// Everything but the tokenizer. Counts per block are lists only where the architecture reads lists.
pub(super) fn pairs(
    config: &ModelConfig,
    target: &GgufTarget,
    format: GgufFormat,
    meta: &GgufMeta,
) -> Vec<(String, Value)> {
    let (arch, blocks) = (target.architecture, &target.blocks);
    let key = |name: &str| format!("{arch}.{name}");
    let count = |n: usize| Value::U32(n as u32);
    let widths = |width: fn(&oops_core::BlockDims) -> usize| match arch {
        "deci" => Value::I32s(blocks.iter().map(|b| width(b) as i32).collect()),
        _ => count(blocks.first().map_or(0, width)),
    };
    let head_dim = blocks.first().map_or(0, |b| b.head_dim);
    let mut out = vec![
        ("general.architecture".to_owned(), Value::Text(arch.to_owned())),
        ("general.name".to_owned(), Value::Text(meta.name.clone())),
        ("general.file_type".to_owned(), Value::U32(file_type(format))),
        (key("vocab_size"), count(config.dims.vocab)),
        // llama.cpp has no sliding window for these architectures: within one it computes the same.
        (key("context_length"), count(config.sliding_window.unwrap_or(usize::MAX).min(config.max_position))),
        (key("embedding_length"), count(config.dims.hidden)),
        (key("block_count"), count(blocks.len())),
        (key("feed_forward_length"), widths(|b| b.ffn)),
        (key("attention.head_count"), widths(|b| b.query_heads)),
        (key("attention.head_count_kv"), widths(|b| b.kv_heads)),
        // Without these a runtime divides the hidden width by the heads that are left.
        (key("attention.key_length"), count(head_dim)),
        (key("attention.value_length"), count(head_dim)),
        (key("attention.layer_norm_rms_epsilon"), Value::F32(config.norm_eps as f32)),
        (key("rope.dimension_count"), count(head_dim)),
        (key("rope.freq_base"), Value::F32(config.rope.theta as f32)),
    ];
    if matches!(format, GgufFormat::Q8_0 | GgufFormat::Q4_0) {
        out.push(("general.quantization_version".to_owned(), Value::U32(2)));
    }
    if let RopeScaling::Linear { factor } = config.rope.scaling {
        out.push((key("rope.scaling.type"), Value::Text("linear".to_owned())));
        out.push((key("rope.scaling.factor"), Value::F32(factor as f32)));
    }
    let attention_factor = config.rope.attention_factor();
    if attention_factor.total_cmp(&1.0).is_ne() {
        out.push((key("rope.scaling.attn_factor"), Value::F32(attention_factor as f32)));
    }
    out.extend(config.sliding_window.map(|w| (key("attention.sliding_window"), count(w))));
    if let RopeScaling::Llama3 { original_max_position, .. } = config.rope.scaling {
        out.push((key("rope.scaling.original_context_length"), count(original_max_position)));
    }
    out
}

/// What each rotary frequency is divided by, where one number for all does not say it.
pub(super) fn rope_factors(rope: &Rope, target: &GgufTarget) -> Option<Vec<f32>> {
    if let RopeScaling::None | RopeScaling::Linear { .. } | RopeScaling::Dynamic { .. } = rope.scaling {
        return None;
    }
    let head_dim = target.blocks.first().map_or(0, |b| b.head_dim);
    let plain = Rope { scaling: RopeScaling::None, ..rope.clone() };
    let pairs = plain.frequencies(head_dim).into_iter().zip(rope.frequencies(head_dim));
    Some(pairs.map(|(plain, stretched)| (plain / stretched) as f32).collect())
}

/// Refuses rotary encodings that the architecture cannot hold.
pub(super) fn check_rope(rope: &Rope, architecture: &str) -> Result<()> {
    let dynamic = matches!(rope.scaling, RopeScaling::Dynamic { .. });
    bail_if(dynamic, || {
        Fault::data("GGUF has no dynamic rotary scaling (`rope_type` dynamic)").help(
            "within the original context the function is that of a model without scaling: remove it from config.json",
        )
    })?;
    let divided = !matches!(rope.scaling, RopeScaling::None | RopeScaling::Linear { .. });
    bail_if(divided && !matches!(architecture, "llama" | "deci"), || {
        Fault::data(format!("the GGUF architecture `{architecture}` has no place for divisors of rotary frequencies"))
            .help("`llama` and `deci` have; without rotary scaling, or with scaling of type linear, the model can be written")
    })
}
