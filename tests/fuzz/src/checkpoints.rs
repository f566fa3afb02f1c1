//! Checkpoints of others: safetensors with their `config.json`, and GGUF.

/// The writer of small GGUF files, from the reader's own tests.
#[allow(dead_code, clippy::all, reason = "only some of it is needed here")]
#[path = "../../../crates/oops-model/src/gguf/testing.rs"]
mod testing;

use std::{collections::BTreeMap, fs, path::PathBuf};

use oops_core::{Class, Result};
use oops_model::Checkpoint;
use serde_json::json;
use testing::{metadata, weights};

use crate::{Target, folder, workspace};

/// Everything that reads of a checkpoint: a damaged one is refused as data, or gives numbers.
fn exercise(files: &BTreeMap<String, PathBuf>) {
    let read = || -> Result<()> {
        let checkpoint = Checkpoint::open(files)?;
        let blocks = checkpoint.config().dims.blocks.len();
        (0..blocks).try_for_each(|l| checkpoint.block(l).map(drop))?;
        checkpoint.embedding().and(checkpoint.final_norm()).and(checkpoint.head())?;
        checkpoint.tokenizer()?.encode("ab <s>").map(drop)
    };
    if let Err(fault) = read() {
        assert_eq!(fault.class(), Class::Data, "{fault}");
    }
}

/// A one-block LLaMA: hidden 8, two query heads and one KV group of 4 channels, FFN 8, 16 tokens.
fn safetensors_file(dtype: &str, width: usize) -> Vec<u8> {
    let layer = |name: &str| format!("model.layers.0.{name}.weight");
    let shapes: [(String, &[usize]); 11] = [
        ("model.embed_tokens.weight".to_owned(), &[16, 8]),
        ("model.norm.weight".to_owned(), &[8]),
        (layer("input_layernorm"), &[8]),
        (layer("post_attention_layernorm"), &[8]),
        (layer("self_attn.q_proj"), &[8, 8]),
        (layer("self_attn.k_proj"), &[4, 8]),
        (layer("self_attn.v_proj"), &[4, 8]),
        (layer("self_attn.o_proj"), &[8, 8]),
        (layer("mlp.gate_proj"), &[8, 8]),
        (layer("mlp.up_proj"), &[8, 8]),
        (layer("mlp.down_proj"), &[8, 8]),
    ];
    let (mut header, mut at) = (serde_json::Map::new(), 0);
    for (name, shape) in shapes {
        let end = at + shape.iter().product::<usize>() * width;
        header.insert(name, json!({ "dtype": dtype, "shape": shape, "data_offsets": [at, end] }));
        at = end;
    }
    let mut text = serde_json::Value::from(header).to_string();
    text.push_str(&" ".repeat(text.len().next_multiple_of(8) - text.len()));
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes(), &vec![60; at]].concat()
}

/// `model.safetensors` and `config.json`. Law: tensors, or a fault of class data.
pub(crate) fn safetensors() -> Target {
    let dir = folder();
    let config = json!({
        "model_type": "llama", "hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 4, "num_hidden_layers": 1, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "vocab_size": 16, "max_position_embeddings": 64, "hidden_act": "silu", "tie_word_embeddings": true,
        "torch_dtype": "float32", "bos_token_id": 0, "eos_token_id": 1,
    });
    let corpus = vec![safetensors_file("F32", 4), safetensors_file("BF16", 2), config.to_string().into_bytes()];
    let names = ["model.safetensors", "model.safetensors", "config.json"];
    let file = |name: &str| (name.to_owned(), dir.path().join(name));
    let mut files: BTreeMap<String, PathBuf> = names.iter().map(|n| file(n)).collect();
    files.insert("tokenizer.json".to_owned(), workspace().join("data/model/tokenizer.json"));
    for (name, bytes) in names.iter().zip(&corpus) {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    let whole = Checkpoint::open(&files).unwrap();
    whole.block(0).unwrap();
    Target::new(dir, corpus.clone(), move |which, bytes| {
        for (i, name) in names.iter().enumerate().filter(|(i, _)| *i != 1) {
            let bytes = if names[which] == *name { bytes } else { &corpus[i] };
            fs::write(&files[*name], bytes).unwrap();
        }
        exercise(&files);
    })
}

/// GGUF files. Law: tensors and tokenizer, or a fault of class data.
pub(crate) fn gguf() -> Target {
    let dir = folder();
    let corpus: Vec<Vec<u8>> = ["llama", "qwen2", "qwen3"].map(|arch| weights(metadata(arch)).bytes()).to_vec();
    let path = dir.path().join("m.gguf");
    let files = BTreeMap::from([("m.gguf".to_owned(), path.clone())]);
    fs::write(&path, &corpus[0]).unwrap();
    Checkpoint::open(&files).unwrap().block(0).unwrap();
    Target::new(dir, corpus, move |_, bytes| {
        fs::write(&path, bytes).unwrap();
        exercise(&files);
    })
}
