//! Spellings that are understood, and what is refused.

use oops_core::BlockDims;
use serde_json::json;

use super::*;

fn base() -> Value {
    json!({
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 172, "num_hidden_layers": 2,
        "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 512, "rms_norm_eps": 1e-5,
        "eos_token_id": [1, 2], "max_position_embeddings": 512, "hidden_act": "silu",
    })
}

fn with(changes: Value) -> Result<ModelConfig> {
    let (mut config, changes) = (base(), changes);
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    let generation = json!({"bos_token_id": 7, "eos_token_id": 9});
    read(config.as_object().unwrap(), generation.as_object().unwrap(), DType::F32).map(|p| p.config)
}

#[test]
fn defaults_follow_transformers() {
    let c = with(json!({})).unwrap();
    assert_eq!(c.dims.blocks, [BlockDims { query_heads: 8, kv_heads: 4, head_dim: 8, ffn: 172 }; 2]);
    assert_eq!(
        (c.bos, c.eos, c.dims.tied, c.sliding_window),
        (Some(7), vec![9], false, None),
        "generation_config.json says it"
    );
    let c = with(json!({"num_key_value_heads": null, "head_dim": 16, "eos_token_id": 3})).unwrap();
    assert_eq!((c.dims.blocks[0].kv_heads, c.dims.blocks[0].head_dim, c.eos), (8, 16, vec![9]));
}

#[test]
fn block_widths_override_and_may_be_zero() {
    let wide = json!({"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 9});
    let none = json!({"num_attention_heads": 0, "num_key_value_heads": 0, "intermediate_size": 0});
    let c = with(json!({"block_widths": [wide, none]})).unwrap();
    assert_eq!(c.dims.blocks[0], BlockDims { query_heads: 4, kv_heads: 2, head_dim: 8, ffn: 9 });
    assert_eq!(c.dims.blocks[1], BlockDims { query_heads: 0, kv_heads: 0, head_dim: 8, ffn: 0 });
}

#[test]
fn what_differs_per_layer_is_read_as_transformers_writes_it() {
    let own = json!({"01": {"intermediate_size": 9, "num_attention_heads": 4, "skip": []}});
    let ours = |own: Value| with(json!({"model_type": "oops", "base_model_type": "llama", "per_layer_config": own}));
    let c = ours(own).unwrap();
    assert_eq!(c.dims.blocks[0], BlockDims { query_heads: 8, kv_heads: 4, head_dim: 8, ffn: 172 });
    assert_eq!(c.dims.blocks[1], BlockDims { query_heads: 4, kv_heads: 4, head_dim: 8, ffn: 9 });
    let skip = |halves: &[&str]| ours(json!({"0": {"skip": halves}})).unwrap().dims.blocks[0];
    assert_eq!(skip(&["attention"]), BlockDims { query_heads: 0, kv_heads: 0, head_dim: 8, ffn: 172 });
    assert_eq!(skip(&["mlp"]).ffn, 0);
    for (own, word) in [
        (json!([]), "block numbers below 2"),
        (json!({"2": {}}), "block numbers below 2"),
        (json!({"0": 1}), "block numbers below 2"),
        (json!({"0": {"head_dim": 4}}), "`head_dim` of its own"),
        (json!({"0": {"num_attention_heads": 6}}), "cannot share"),
        (json!({"0": {"skip": "mlp"}}), "a list of `attention` and `mlp`"),
        (json!({"0": {"skip": ["ffn"]}}), "a list of `attention` and `mlp`"),
    ] {
        let text = ours(own).unwrap_err().to_string();
        assert!(text.contains(word), "{text}");
    }
    let stock = with(json!({"per_layer_config": {"0": {"intermediate_size": 9}}})).unwrap_err().to_string();
    assert!(stock.contains("`per_layer_config`"), "{stock}");
}

#[test]
fn remote_code_of_ours_names_the_family_that_it_builds_on() {
    for model_type in ["oops", "nemotron-nas"] {
        let c = with(json!({"model_type": model_type, "base_model_type": "qwen2"})).unwrap();
        assert_eq!(c.family, Family::Qwen2);
    }
    assert!(with(json!({"model_type": "oops"})).unwrap_err().to_string().contains("`base_model_type`"));
    let foreign = with(json!({"model_type": "nemotron-nas"})).unwrap_err().to_string();
    assert!(foreign.contains("`nemotron-nas` are not supported"), "{foreign}");
}

#[test]
fn windows_follow_each_familys_rule() {
    let window = |changes| with(changes).map(|c| c.sliding_window);
    assert_eq!(window(json!({"sliding_window": 8})).unwrap(), None);
    assert_eq!(window(json!({"model_type": "mistral", "sliding_window": 8})).unwrap(), Some(8));
    assert_eq!(window(json!({"model_type": "mistral", "sliding_window": null})).unwrap(), None);
    let qwen = |on: bool, from: u64| {
        window(json!({"model_type": "qwen2", "sliding_window": 8, "use_sliding_window": on, "max_window_layers": from}))
    };
    assert_eq!(qwen(false, 0).unwrap(), None);
    assert_eq!(qwen(true, 0).unwrap(), Some(8));
    assert_eq!(qwen(true, 28).unwrap(), None);
    assert!(qwen(true, 1).unwrap_err().to_string().contains("1 of 2 blocks"));
    let types = json!(["full_attention", "sliding_attention"]);
    let mixed = json!({"model_type": "qwen3", "sliding_window": 8, "use_sliding_window": true, "layer_types": types});
    assert!(window(mixed).is_err());
}

#[test]
fn absent_keys_mean_what_each_class_says() {
    let without = |model_type: &str, dropped: &str, changes: Value| {
        let mut config = base();
        config["model_type"] = json!(model_type);
        changes.as_object().unwrap().iter().for_each(|(k, v)| config[k] = v.clone());
        config.as_object_mut().unwrap().remove(dropped);
        read(config.as_object().unwrap(), &Map::new(), DType::F32).map(|p| p.config)
    };
    for (model_type, positions) in [("llama", 2048), ("mistral", 131_072), ("qwen2", 32_768), ("qwen3", 32_768)] {
        let c = without(model_type, "max_position_embeddings", json!({})).unwrap();
        assert_eq!(c.max_position, positions);
    }
    assert_eq!(without("mistral", "sliding_window", json!({})).unwrap().sliding_window, Some(4096));
    let qwen = json!({"use_sliding_window": true, "sliding_window": 8});
    assert_eq!(without("qwen2", "max_window_layers", qwen).unwrap().sliding_window, None);
    let qwen = json!({"use_sliding_window": true, "max_window_layers": 0});
    assert_eq!(without("qwen2", "sliding_window", qwen).unwrap().sliding_window, Some(4096));
    let heads = json!({"num_attention_heads": 16, "hidden_size": 128});
    let kv = |model_type| without(model_type, "num_key_value_heads", heads.clone());
    assert_eq!(kv("llama").unwrap().dims.blocks[0].kv_heads, 16);
    assert_eq!(kv("mistral").unwrap().dims.blocks[0].kv_heads, 8);
    assert!(kv("qwen2").unwrap_err().to_string().contains("32 key/value heads, the default of its absent key"));
}

#[test]
fn what_is_passed_over_is_said() {
    let said = |changes: Value| {
        let mut config = base();
        changes.as_object().unwrap().iter().for_each(|(k, v)| config[k] = v.clone());
        read(config.as_object().unwrap(), &Map::new(), DType::F32).unwrap().warnings
    };
    assert!(said(json!({"use_cache": true, "torch_dtype": "float16", "pretraining_tp": 1})).is_empty());
    assert!(said(json!({"flavour": 1, "colour": 2}))[0].contains("passed over: `colour`, `flavour`"));
    assert!(said(json!({"sliding_window": 8}))[0].contains("`sliding_window` is 8"));
    assert!(
        said(json!({"num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 8}))[0].contains("`hidden_size`")
    );
}

#[test]
fn what_we_cannot_run_is_refused_with_the_reason() {
    for (changes, word) in [
        (json!({"model_type": "gemma"}), "supported model types"),
        (json!({"model_type": null}), "`model_type` is missing"),
        (json!({"hidden_act": "gelu"}), "supported activation: silu"),
        (json!({"num_key_value_heads": 3}), "cannot share 3"),
        (json!({"head_dim": 7}), "even number"),
        (json!({"num_hidden_layers": 1_000_000_000_000_u64}), "num_hidden_layers"),
        (json!({"num_hidden_layers": "two"}), "whole number"),
        (json!({"block_widths": []}), "a list of 2 entries"),
        (json!({"block_widths": [1, 2]}), "a list of objects"),
        (json!({"eos_token_id": "x"}), "a token id or a list"),
        (json!({"vocab_size": null}), "`vocab_size` is null"),
        (json!({"rms_norm_eps": 0}), "positive"),
        (json!({"rms_norm_eps": 1}), "`rms_norm_eps`"),
        (json!({"is_causal": false}), "`is_causal`"),
        (json!({"is_causal": null}), "`is_causal`"),
        (json!({"final_logit_softcapping": 30.0}), "`final_logit_softcapping`"),
        (json!({"embedding_multiplier": 2.0, "is_causal": false}), "`embedding_multiplier`, `is_causal`"),
        (json!({"pad_token_id": 512}), "`pad_token_id`"),
        (json!({"layer_types": ["sliding_attention", "sliding_attention"]}), "`layer_types`"),
        (json!({"model_type": "mistral", "layer_types": ["full_attention", "full_attention"]}), "`layer_types`"),
    ] {
        let text = with(changes).unwrap_err().to_string();
        assert!(text.contains(word), "{text}");
    }
}
