//! Models of every family and shape go through a file and come back as the same function.

use std::{collections::BTreeMap, fs};

use oops_core::ModelDims;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::{
    Block, DType, ModelConfig, RopeScaling,
    fixtures::{config, fixture, logits, max_diff, random, random_block},
    hf_config_with_biases, write_block, write_outer,
};

const HIDDEN: usize = 32;
const WIDE: BlockDims = BlockDims { query_heads: 4, kv_heads: 2, head_dim: 8, ffn: 64 };
const NARROW: BlockDims = BlockDims { query_heads: 2, kv_heads: 1, head_dim: 8, ffn: 33 };
const NO_FFN: BlockDims = BlockDims { ffn: 0, ..WIDE };
const NO_ATTENTION: BlockDims = BlockDims { query_heads: 0, kv_heads: 0, ..WIDE };
const NOTHING: BlockDims = BlockDims { ffn: 0, ..NO_ATTENTION };
const IDS: [u32; 9] = [3, 1, 4, 1, 5, 9, 2, 6, 5];

/// Which linear layers have a bias.
type Keep = fn(&str) -> bool;

/// A checkpoint with random weights in which `keep` says which biases stay.
fn checkpoint(config: &ModelConfig, keep: Keep) -> (TempDir, Checkpoint) {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let mut files = BTreeMap::from([("config.json".to_owned(), at("config.json"))]);
    fs::write(at("config.json"), hf_config_with_biases(config).to_string()).unwrap();
    for (l, dims) in config.dims.blocks.iter().enumerate() {
        let mut block = Block { ..random_block(HIDDEN, *dims, l as u64 + 1) };
        for (part, layer) in LINEARS.iter().zip([
            &mut block.q,
            &mut block.k,
            &mut block.v,
            &mut block.o,
            &mut block.gate,
            &mut block.up,
            &mut block.down,
        ]) {
            layer.bias = layer.bias.take().filter(|_| keep(part));
        }
        if config.family != Family::Qwen3 {
            (block.q_norm, block.k_norm) = (None, None);
        }
        let name = format!("block-{l}.safetensors");
        write_block(&at(&name), l, &block, &DType::F32).unwrap();
        files.insert(name.clone(), at(&name));
    }
    let (embedding, norm) = (random(&[50, HIDDEN], 3, 1.0), random(&[HIDDEN], 4, 1.0));
    write_outer(&at("outer.safetensors"), &embedding, &norm, Some(&random(&[50, HIDDEN], 5, 1.0)), &DType::F32)
        .unwrap();
    files.insert("outer.safetensors".to_owned(), at("outer.safetensors"));
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [{ "id": 1, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true }],
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": { "type": "BPE", "vocab": { "a": 0, "<s>": 1, "b": 2, "ab": 3 }, "merges": [["a", "b"]] },
    });
    fs::write(at("tokenizer.json"), tokenizer.to_string()).unwrap();
    files.insert("tokenizer.json".to_owned(), at("tokenizer.json"));
    let model = Checkpoint::open(&files).unwrap();
    (dir, model)
}

/// The target and the largest difference of logits after the way through a file.
fn through(model: &Checkpoint, format: GgufFormat) -> (GgufTarget, f32, Checkpoint) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    let meta = GgufMeta { name: "m".to_owned(), chat_template: Some("{{ x }}".to_owned()) };
    let target = write_gguf(&path, model, format, &meta).unwrap();
    let back = Checkpoint::open_path(&path).unwrap();
    let run = |m: &Checkpoint| logits(m, &IDS, &[5, 4], |_, b| b);
    let difference = max_diff(&run(model), &run(&back));
    assert_eq!(back.chat_template(), Some("{{ x }}"));
    (target, difference, back)
}

fn none(_: &str) -> bool {
    false
}

fn repaired(part: &str) -> bool {
    ["self_attn.o_proj", "mlp.down_proj"].contains(&part)
}

fn qkv(part: &str) -> bool {
    LINEARS[..3].contains(&part)
}

#[test]
fn every_family_and_shape_keeps_its_function() {
    let cases: [(Family, &[BlockDims], Keep, &str); 10] = [
        (Family::Llama, &[WIDE, WIDE], none, "llama"),
        (Family::Llama, &[WIDE, WIDE], repaired, "llama"),
        (Family::Llama, &[WIDE, NARROW], repaired, "deci"),
        (Family::Llama, &[NO_ATTENTION, NO_FFN, NARROW, NO_ATTENTION, NOTHING], none, "deci"),
        (Family::Qwen2, &[WIDE, WIDE], qkv, "qwen2"),
        // Heads that do not fill the hidden width, which the loader of `qwen2` does not take.
        (Family::Qwen2, &[NARROW, NARROW], qkv, "deci"),
        (Family::Qwen2, &[WIDE, WIDE], |_| true, "deci"),
        (Family::Qwen2, &[WIDE, NARROW], qkv, "deci"),
        (Family::Qwen3, &[WIDE, WIDE], none, "qwen3"),
        (Family::Mistral, &[NARROW, WIDE], none, "deci"),
    ];
    for (family, blocks, keep, architecture) in cases {
        let (_dir, model) = checkpoint(&config(family, HIDDEN, blocks.to_vec()), keep);
        let (target, difference, back) = through(&model, GgufFormat::F32);
        assert_eq!(target.architecture, architecture, "{family:?} {blocks:?}");
        assert!(difference < 1e-5, "{family:?} {blocks:?}: {difference}");
        assert_eq!(back.config().dims, ModelDims { blocks: target.blocks, ..model.config().dims.clone() });
        assert_eq!((back.config().bos, back.config().eos.as_slice()), (Some(1), &[2][..]));
        assert_eq!(back.tokenizer().unwrap().encode("ab<s>a").unwrap(), [3, 1, 0]);
    }
}

#[test]
fn what_no_runtime_computes_is_never_written() {
    let (_dir, model) = checkpoint(&config(Family::Llama, HIDDEN, vec![NO_ATTENTION, NO_FFN]), none);
    let target = GgufTarget::of(&model).unwrap();
    assert_eq!((target.blocks[0].kv_heads, target.blocks[1].ffn), (1, ZERO_FFN));
    for (blocks, keep, why) in [
        (vec![WIDE, NARROW], none as Keep, "its blocks differ"),
        (vec![WIDE, WIDE], repaired, "`self_attn.o_proj` has a bias"),
    ] {
        let (_dir, model) = checkpoint(&config(Family::Qwen3, HIDDEN, blocks), keep);
        let fault = GgufTarget::of(&model).unwrap_err().to_string();
        assert!(fault.contains(why), "{fault}");
    }
}

#[test]
fn smaller_formats_lose_what_they_must_and_rows_that_do_not_fit_are_f16() {
    let (_dir, model) = checkpoint(&config(Family::Llama, HIDDEN, vec![WIDE, NARROW]), repaired);
    let mut before = 0.0;
    for (format, most) in
        [(GgufFormat::F16, 0.02), (GgufFormat::Bf16, 0.1), (GgufFormat::Q8_0, 0.2), (GgufFormat::Q4_0, 5.0)]
    {
        let (_, difference, back) = through(&model, format);
        assert!(difference > before / 4.0 && difference < most, "{format:?}: {difference}");
        before = difference;
        // Each tensor is what its own format makes of it, whatever else happens in the file.
        let down = "model.layers.1.mlp.down_proj.weight";
        let f16 = |v: f32| half::f16::from_f32(v).to_f32();
        let stored = if format == GgufFormat::Bf16 { |v: f32| half::bf16::from_f32(v).to_f32() } else { f16 };
        let want: Vec<f32> = model.tensor(down, &[HIDDEN, 33]).unwrap().into_iter().map(stored).collect();
        assert_eq!(back.tensor(down, &[HIDDEN, 33]).unwrap(), want);
    }
}

#[test]
fn scaled_positions_survive() {
    let llama3 =
        RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_max_position: 8192 };
    let divisors = RopeScaling::Divisors { divisors: vec![1.0, 1.5, 7.25, 9.0], attention_factor: 1.25 };
    for scaling in [RopeScaling::Linear { factor: 4.0 }, llama3, divisors] {
        let mut config = config(Family::Llama, HIDDEN, vec![WIDE, NARROW]);
        // With this base the longest wave is beyond the stretched range, so that the factor can be read from it.
        config.rope = crate::Rope { theta: 5e5, scaling: scaling.clone() };
        let (_dir, model) = checkpoint(&config, none);
        let (_, difference, back) = through(&model, GgufFormat::F32);
        assert!(back.config().rope.scaling == scaling && difference < 1e-5, "{difference}");
    }
}

#[test]
fn a_file_of_a_model_with_a_window_has_no_longer_context() {
    for (family, blocks) in [(Family::Mistral, [WIDE, NARROW]), (Family::Qwen2, [WIDE, WIDE])] {
        let mut config = config(family, HIDDEN, blocks.to_vec());
        config.sliding_window = Some(3);
        let (_dir, model) = checkpoint(&config, if family == Family::Qwen2 { qkv } else { none });
        let (target, _, back) = through(&model, GgufFormat::F32);
        assert_eq!(back.config().max_position, 3);
        assert!(target.lost[0].contains("no sliding window") && target.lost[0].contains("3 of "), "{:?}", target.lost);
        config.sliding_window = Some(config.max_position);
        let (_dir, model) = checkpoint(&config, if family == Family::Qwen2 { qkv } else { none });
        assert!(gguf_losses(&model).unwrap().is_empty());
    }
}

#[test]
fn llama_cpps_view_of_a_file_has_no_window_and_no_normaliser() {
    let mut config = config(Family::Mistral, HIDDEN, vec![WIDE, WIDE]);
    config.sliding_window = Some(3);
    let (dir, model) = checkpoint(&config, none);
    let path = dir.path().join("m.gguf");
    write_gguf(&path, &model, GgufFormat::F32, &GgufMeta::default()).unwrap();
    let (ours, theirs) = (Checkpoint::open_path(&path).unwrap(), Checkpoint::open_as_llama_cpp(&path).unwrap());
    assert_eq!((ours.config().sliding_window, theirs.config().sliding_window), (Some(3), None));
    let run = |m: &Checkpoint| logits(m, &IDS, &[9], |_, b| b);
    assert!(max_diff(&run(&ours), &run(&model)) < 1e-5 && max_diff(&run(&theirs), &run(&model)) > 1e-3);
}

#[test]
fn the_same_model_gives_the_same_bytes() {
    let (dir, model) = checkpoint(&config(Family::Llama, HIDDEN, vec![WIDE, NARROW]), none);
    let bytes = |name: &str| {
        let path = dir.path().join(name);
        write_gguf(&path, &model, GgufFormat::Q8_0, &GgufMeta::default()).unwrap();
        fs::read(path).unwrap()
    };
    assert_eq!(bytes("a.gguf"), bytes("b.gguf"));
}

#[test]
#[ignore = "needs OOPS_FIXTURES"]
fn tokenizers_of_published_models_survive() {
    for path in ["models/smollm2-135m", "models/stories260k"] {
        let path = fixture(path);
        let model = Checkpoint::open_path(&path).unwrap();
        let (_, difference, back) = through(&model, GgufFormat::F32);
        assert!(difference < 1e-4, "{difference}");
        let text = "Once upon a time, there was a little girl named Lily.\n\n12 + 345 = 357! Été — 🙂 <|im_start|></s>";
        let ids = model.tokenizer().unwrap().encode(text).unwrap();
        assert_eq!(back.tokenizer().unwrap().encode(text).unwrap(), ids);
        assert_eq!(back.tokenizer().unwrap().decode(&ids).unwrap(), model.tokenizer().unwrap().decode(&ids).unwrap());
    }
}
