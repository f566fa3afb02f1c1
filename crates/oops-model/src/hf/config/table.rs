//! Every key of config.json that transformers 4.57 or 5.24 reads for our families, and keys that others of its classes or
//! other runtimes read, with what becomes of each here.
//!
//! **Which version counts.** A file means what transformers 5.24 makes of it, defaults of absent keys included. What 5.24
//! refuses is refused, but for one thing that 4.57 computes and other runtimes too: LLaMA heads whose number does not divide
//! the hidden width, which are read with a warning. Where a file has keys of version 4 from which 4.57 would make another function,
//! a warning names the key, or the file is refused. `rope_parameters` without any rotary key of version 4 is the exception:
//! version 4 cannot read such files, and nothing is said of it.
//!
//! **A key that is not listed** is unknown to these classes. They do not read it, and neither do we: a warning names it.

use oops_core::{Fault, Result, bail_if};
use serde_json::{Map, Value};

use super::super::json::wrong;
use crate::Family::{self, Llama, Mistral, Qwen2, Qwen3};

/// What becomes of a key.
#[derive(Clone, Copy)]
pub(super) enum Rule {
    /// Understood; `null` means something, or the same as an absent key.
    Read,
    /// Understood; `null` is refused, as transformers does.
    Stated,
    /// Changes no logits.
    Idle,
    /// Would change the function, here or in another runtime: any value but these (in JSON) is refused.
    Only(&'static [&'static str]),
    /// The family's class does not read it, whatever its name promises: a value but these (in JSON) is warned of.
    Unread(&'static [&'static str]),
}
use Rule::{Idle, Only, Read, Stated, Unread};

const ALL: &[Family] = &[Llama, Mistral, Qwen2, Qwen3];
const LLAMA: &[Family] = &[Llama];
const QWENS: &[Family] = &[Qwen2, Qwen3];
const NO: &[&str] = &["null", "false"];
const NONE: &[&str] = &["null"];
const ONE: &[&str] = &["null", "1"];

/// Rules for groups of keys; for a family and a key, the first that names both counts.
pub(super) const TABLE: &[(&[Family], Rule, &[&str])] = &[
    // Shape and mathematics.
    (
        ALL,
        Stated,
        &[
            "model_type",
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "vocab_size",
            "hidden_act",
            "rms_norm_eps",
            "max_position_embeddings",
            "tie_word_embeddings",
            "rope_theta",
            "partial_rotary_factor",
        ],
    ),
    (&[Mistral], Stated, &["num_key_value_heads"]),
    (QWENS, Stated, &["head_dim", "use_sliding_window", "max_window_layers"]),
    (
        ALL,
        Read,
        &[
            "num_key_value_heads",
            "head_dim",
            "rope_scaling",
            "rope_parameters",
            "original_max_position_embeddings",
            "layer_types",
            "pad_token_id",
            "bos_token_id",
            "eos_token_id",
            "quantization_config",
            "per_layer_config",
        ],
    ),
    (&[Mistral, Qwen2, Qwen3], Read, &["sliding_window"]),
    (&[Llama, Qwen3], Stated, &["attention_bias"]),
    (LLAMA, Stated, &["mlp_bias"]),
    // What a class does not read although its name promises something.
    (LLAMA, Unread(NONE), &["sliding_window"]),
    (LLAMA, Unread(NO), &["use_sliding_window"]),
    (&[Mistral], Unread(&["null", "true"]), &["use_sliding_window"]),
    (&[Mistral, Qwen2], Unread(NO), &["attention_bias"]),
    (&[Mistral, Qwen2, Qwen3], Unread(NO), &["mlp_bias"]),
    (ALL, Unread(NO), &["bias", "qkv_bias", "rope_ratio"]),
    // Version 5 alone reads it.
    (ALL, Only(&["true"]), &["is_causal"]),
    // Another model altogether.
    (ALL, Only(NO), &["is_encoder_decoder", "add_cross_attention"]),
    (
        ALL,
        Only(NONE),
        &["text_config", "decoder", "generator", "text_encoder", "vision_config", "cross_attention_hidden_size"],
    ),
    (ALL, Only(&["null", "{}"]), &["pruned_heads"]),
    // Mathematics of other families. Our families' classes pass over them; vLLM and converters to GGUF do not always.
    (
        ALL,
        Only(NONE),
        &[
            "attn_logit_softcapping",
            "final_logit_softcapping",
            "query_pre_attn_scalar",
            "attention_chunk_size",
            "no_rope_layers",
            "no_rope_layer_interval",
            "kv_lora_rank",
            "clip_qkv",
            "scale_emb",
            "scale_depth",
            "dim_model_base",
            "sliding_window_pattern",
            "num_kv_shared_layers",
            "rope_local_base_freq",
        ],
    ),
    (
        ALL,
        Only(ONE),
        &["attention_multiplier", "logits_scaling", "embedding_multiplier", "residual_multiplier", "logit_scale"],
    ),
    (ALL, Only(&["null", "0", "1"]), &["num_experts", "num_local_experts", "n_routed_experts"]),
    (&[Qwen3], Idle, &["use_qk_norm", "qk_norm"]),
    (
        ALL,
        Only(NO),
        &[
            "use_qk_norm",
            "qk_norm",
            "qk_layernorm",
            "attn_temperature_tuning",
            "rope_interleaved",
            "use_mrope",
            "alibi",
            "use_parallel_residual",
            "parallel_attn",
        ],
    ),
    (ALL, Only(&["null", "\"silu\"", "\"swish\""]), &["hidden_activation"]),
    // Our own.
    (ALL, Read, &["block_widths", "base_model_type", "biases"]),
    (ALL, Idle, &["block_configs"]),
    // Training, files, classes, other tasks, ways to compute the same.
    (
        ALL,
        Idle,
        &[
            "architectures",
            "auto_map",
            "attention_dropout",
            "initializer_range",
            "use_cache",
            "pretraining_tp",
            "chunk_size_feed_forward",
            "is_decoder",
            "max_window_layers",
            "torch_dtype",
            "dtype",
            "transformers_version",
            "_name_or_path",
            "name_or_path",
            "_commit_hash",
            "output_attentions",
            "output_hidden_states",
            "return_dict",
            "id2label",
            "label2id",
            "num_labels",
            "problem_type",
            "classifier_dropout",
            "torchscript",
            "tie_encoder_decoder",
            "finetuning_task",
            "task_specific_params",
            "tokenizer_class",
            "prefix",
            "sep_token_id",
            "cls_token_id",
            "mask_token_id",
            "unk_token_id",
            "decoder_start_token_id",
            "gradient_checkpointing",
            "attn_implementation",
            "_attn_implementation",
            "_attn_implementation_autoset",
            "_attn_implementation_internal",
            "_experts_implementation_internal",
            "experts_implementation",
            "_flash_attn_2_enabled",
            "use_bfloat16",
            "tf_legacy_loss",
            "neftune_noise_alpha",
            "unsloth_version",
            "unsloth_fixed",
            "is_llama_config",
            "transformers.js_config",
            "model_max_length",
            "tie_last_hidden_states",
            "use_flash_attn",
        ],
    ),
    // Generation: what was once kept here and is read from generation_config.json today.
    (
        ALL,
        Idle,
        &[
            "max_length",
            "min_length",
            "max_new_tokens",
            "do_sample",
            "early_stopping",
            "num_beams",
            "num_beam_groups",
            "diversity_penalty",
            "temperature",
            "top_k",
            "top_p",
            "min_p",
            "typical_p",
            "repetition_penalty",
            "length_penalty",
            "no_repeat_ngram_size",
            "encoder_no_repeat_ngram_size",
            "bad_words_ids",
            "num_return_sequences",
            "output_scores",
            "return_dict_in_generate",
            "forced_bos_token_id",
            "forced_eos_token_id",
            "remove_invalid_values",
            "exponential_decay_length_penalty",
            "suppress_tokens",
            "begin_suppress_tokens",
            "epsilon_cutoff",
            "eta_cutoff",
        ],
    ),
];

/// The rule of a key.
pub(super) fn rule(family: Family, key: &str) -> Option<Rule> {
    TABLE.iter().find(|(families, _, keys)| families.contains(&family) && keys.contains(&key)).map(|t| t.1)
}

/// Holds every key to its rule; what is passed over but should be known goes to `warnings`.
pub(super) fn check(config: &Map<String, Value>, family: Family, warnings: &mut Vec<String>) -> Result<()> {
    let class = family.descriptor().model_type;
    let (mut unknown, mut refused) = (Vec::new(), Vec::new());
    for (key, value) in config {
        match rule(family, key) {
            None => unknown.push(format!("`{key}`")),
            Some(Stated) => bail_if(value.is_null(), || wrong(key, value, "stated, or absent"))?,
            Some(Only(harmless)) if !is_one_of(value, harmless) => refused.push((key, value, harmless)),
            Some(Unread(harmless)) if !is_one_of(value, harmless) => warnings.push(format!(
                "`{key}` is {value} in config.json; transformers does not read it for {class}, and it is passed over"
            )),
            Some(Read | Idle | Only(_) | Unread(_)) => {}
        }
    }
    if let Some((key, value, harmless)) = refused.first() {
        let all: Vec<String> = refused.iter().map(|r| format!("`{}`", r.0)).collect();
        let fault = wrong(key, value, &harmless.join(" or "));
        return Err(if refused.len() == 1 { fault } else { unsupported(&all) });
    }
    if !unknown.is_empty() {
        warnings.push(format!(
            "config.json has keys that {class} does not know and that are passed over: {}",
            unknown.join(", ")
        ));
    }
    Ok(())
}

fn unsupported(keys: &[String]) -> Fault {
    Fault::data(format!("config.json has keys that would change the function: {}", keys.join(", ")))
        .help("models of these families are supported without them")
}

/// Whether a value is one of those in JSON; numbers by value.
fn is_one_of(value: &Value, listed: &[&str]) -> bool {
    let same = |text: &&str| match serde_json::from_str::<Value>(text) {
        Ok(Value::Number(n)) => value.as_f64().is_some() && value.as_f64() == n.as_f64(),
        Ok(other) => other == *value,
        Err(_) => false,
    };
    listed.iter().any(same)
}
