//! Which class a model goes to.

use oops_core::BlockDims;
use oops_model::{Family, values};

use super::*;
use crate::testkit::model;

const WIDE: BlockDims = BlockDims { query_heads: 4, kv_heads: 2, head_dim: 8, ffn: 20 };
const THREE: BlockDims = BlockDims { query_heads: 3, kv_heads: 3, head_dim: 8, ffn: 20 };
/// As many query heads as [`WIDE`].
const THIN: BlockDims = BlockDims { query_heads: 4, kv_heads: 1, head_dim: 8, ffn: 7 };
const NARROW: BlockDims = BlockDims { query_heads: 2, kv_heads: 1, head_dim: 8, ffn: 7 };

#[test]
fn a_model_goes_to_the_plainest_class_that_holds_it() {
    let qkv = &["q", "k", "v"][..];
    let cases: [(Family, &[BlockDims], &[&str], &str); 8] = [
        (Family::Llama, &[WIDE, WIDE], &[], "stock `LlamaForCausalLM`"),
        (Family::Llama, &[WIDE, WIDE], &["o", "down"], "stock `LlamaForCausalLM`"),
        (Family::Llama, &[THREE, THREE], &[], "stock `MistralForCausalLM`"),
        (Family::Llama, &[THREE, THREE], &["o"], "`OopsForCausalLM` (remote code over `Llama`)"),
        (Family::Llama, &[WIDE, NARROW], &[], "`OopsForCausalLM` (remote code over `Llama`)"),
        (Family::Llama, &[WIDE, THIN], &[], "`DeciLMForCausalLM` (remote code over `Llama`)"),
        (Family::Qwen2, &[WIDE, WIDE], qkv, "stock `Qwen2ForCausalLM`"),
        (Family::Qwen2, &[WIDE, WIDE], &["q", "k", "v", "o"], "`DeciLMForCausalLM` (remote code over `Qwen2`)"),
    ];
    for (family, blocks, biased, form) in cases {
        let dir = tempfile::tempdir().unwrap();
        let plan = Plan::of(&model(dir.path(), family, blocks, biased), Form::Auto).unwrap();
        assert_eq!(plan.described(), form, "{family:?} {blocks:?} {biased:?}");
    }
}

#[test]
fn what_a_stock_class_cannot_hold_is_refused_with_the_reason() {
    let refusal = |blocks: &[BlockDims], biased: &[&str]| {
        let dir = tempfile::tempdir().unwrap();
        Plan::of(&model(dir.path(), Family::Llama, blocks, biased), Form::Stock).unwrap_err().to_string()
    };
    assert!(refusal(&[WIDE, NARROW], &[]).contains("block 1 has other widths than block 0"));
    assert!(refusal(&[THREE, THREE], &["down"]).contains("3 heads do not divide the hidden width 32"));
}

#[test]
fn remote_widths_name_every_block_and_are_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let model = model(dir.path(), Family::Llama, &[WIDE, NARROW], &["o"]);
    let plan = Plan::of(&model, Form::Auto).unwrap();
    let texts = plan.texts(model.config());
    let config: serde_json::Value = serde_json::from_str(&texts[0].1).unwrap();
    assert_eq!(config["block_widths"][1]["intermediate_size"], 7);
    assert_eq!(config["block_widths"][0]["biases"][0], "self_attn.o_proj");
    let own = config["per_layer_config"].as_object().unwrap();
    assert_eq!((own.len(), &own["1"]["intermediate_size"]), (1, &7.into()), "only what differs");
    assert!(texts[2].1.contains("from transformers.models.llama.modeling_llama import LlamaDecoderLayer"));
    assert!(!texts[1].1.contains('@') && !texts[2].1.contains('@'));
}

#[test]
fn widths_that_vllm_serves_are_written_as_it_reads_them() {
    let dir = tempfile::tempdir().unwrap();
    let model = model(dir.path(), Family::Qwen2, &[WIDE, THIN], &["q", "k", "v"]);
    let plan = Plan::of(&model, Form::Remote).unwrap();
    assert!(plan.is_served());
    let texts = plan.texts(model.config());
    let config: serde_json::Value = serde_json::from_str(&texts[0].1).unwrap();
    assert_eq!((&config["model_type"], &config["num_attention_heads"]), (&"nemotron-nas".into(), &4.into()));
    let block = &config["block_configs"][1];
    assert_eq!((&block["attention"]["n_heads_in_group"], &block["ffn"]["intermediate_size"]), (&4.into(), &7.into()));
    assert!(block["ffn"].get("ffn_mult").is_none());
    // Its `attention_bias` means all four layers: o has a bias of zeros, which Qwen2's own class must be told.
    assert_eq!((&config["attention_bias"], &config["mlp_bias"]), (&true.into(), &false.into()));
    assert_eq!(config["block_widths"][0]["biases"], serde_json::json!(["self_attn.o_proj"]));
    let written = plan.with_biases(model.block(0).unwrap()).unwrap();
    assert!(written.o.bias.is_some() && written.down.bias.is_none() && !plan.keeps(&model, 0));
    assert!(
        texts[1].1.contains("model_type = \"nemotron-nas\"") && texts[2].1.contains("class DeciLMForCausalLM(Qwen2")
    );
}

#[test]
fn padding_gives_one_width_and_zero_biases_where_the_class_has_them() {
    let dir = tempfile::tempdir().unwrap();
    let model = model(dir.path(), Family::Llama, &[WIDE, NARROW], &["o"]);
    let plan = Plan::of(&model, Form::Padded).unwrap();
    assert_eq!(plan.blocks, [WIDE, WIDE]);
    let block = plan.with_biases(pad_block(&model.block(1).unwrap(), &plan.blocks[1]).unwrap()).unwrap();
    assert_eq!(values(&block.q.bias.unwrap()).unwrap(), vec![0.0; 32]);
    assert!(block.o.bias.is_some() && block.gate.bias.is_none());
    assert!(!plan.keeps(&model, 0), "its other attention biases are missing");
}
