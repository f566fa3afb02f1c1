//! Fuzzing of everything that reads files: pipelines, checkpoints, the store, cache files. `OOPS_FUZZ_SECONDS=600` runs
//! each target for that long instead of 300 inputs.

mod support;

#[path = "support/fuzzing.rs"]
mod fuzzing;
/// The writer of small GGUF files, from the reader's own tests.
#[allow(dead_code, reason = "only some of it is needed here")]
#[path = "../crates/oops-model/src/gguf/testing.rs"]
mod testing;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use fuzzing::{Watched, fuzz};
use oops_core::{Class, Digest, Result};
use oops_model::Checkpoint;
use oops_pipeline::Graph;
use oops_stage::Registry;
use oops_store::{FileRef, Lookup, Policy, Provenance, Record, RunLog, Store};
use serde_json::json;
use support::workspace;
use testing::{metadata, weights};

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// What the writer of GGUF files calls a file.
type Bytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn yaml_files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "yaml"));
    files.sort();
    files
}

#[test]
fn pipelines() {
    let crates = [
        oops_source::stages(),
        oops_calibrate::stages(),
        oops_score::stages(),
        oops_select::stages(),
        oops_reconstruct::stages(),
        oops_distill::stages(),
        oops_eval::stages(),
        oops_export::stages(),
        oops_report::stages(),
    ];
    let registry = Registry::new(crates.into_iter().flatten()).unwrap();
    let dir = folder();
    let data = workspace().join("data").canonicalize().unwrap();
    let read = |p: &PathBuf| fs::read_to_string(p).unwrap().replace("../data", data.to_str().unwrap()).into_bytes();
    let corpus: Vec<Vec<u8>> = yaml_files(&workspace().join("pipelines")).iter().map(read).collect();
    let file = dir.path().join("p.yaml");
    fuzz("pipelines", &corpus, |_, bytes| {
        fs::write(&file, bytes).unwrap();
        let checked = Graph::load(&file, &[], &registry).and_then(|mut graph| {
            let all = (0..graph.nodes.len()).collect();
            graph.check(&all)
        });
        if let Err(problems) = checked {
            assert!(matches!(problems.class(), Class::Config | Class::Data), "{}", problems.render(false, 100));
            assert!(!problems.render(false, 100).is_empty());
        }
    });
}

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

#[test]
fn safetensors() {
    let dir = folder();
    let config = json!({
        "model_type": "llama", "hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 4, "num_hidden_layers": 1, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "vocab_size": 16, "max_position_embeddings": 64, "hidden_act": "silu", "tie_word_embeddings": true,
        "torch_dtype": "float32", "bos_token_id": 0, "eos_token_id": 1,
    });
    let corpus = [safetensors_file("F32", 4), safetensors_file("BF16", 2), config.to_string().into_bytes()];
    let names = ["model.safetensors", "model.safetensors", "config.json"];
    let file = |name: &str| (name.to_owned(), dir.path().join(name));
    let mut files: BTreeMap<String, PathBuf> = names.iter().map(|n| file(n)).collect();
    files.insert("tokenizer.json".to_owned(), workspace().join("data/model/tokenizer.json"));
    for (name, bytes) in names.iter().zip(&corpus) {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    let whole = Checkpoint::open(&files).unwrap();
    whole.block(0).unwrap();
    fuzz("safetensors", &corpus, |which, bytes| {
        for (i, name) in names.iter().enumerate().filter(|(i, _)| *i != 1) {
            let bytes = if names[which] == *name { bytes } else { &corpus[i] };
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        exercise(&files);
    });
}

#[test]
fn gguf() {
    let dir = folder();
    let corpus: Vec<Vec<u8>> = ["llama", "qwen2", "qwen3"].map(|arch| weights(metadata(arch)).bytes()).to_vec();
    let path = dir.path().join("m.gguf");
    let files = BTreeMap::from([("m.gguf".to_owned(), path.clone())]);
    fs::write(&path, &corpus[0]).unwrap();
    Checkpoint::open(&files).unwrap().block(0).unwrap();
    fuzz("gguf", &corpus, |_, bytes| {
        fs::write(&path, bytes).unwrap();
        exercise(&files);
    });
}

/// A store with one result, its record, and a run that refers to it.
fn small_store(root: &Path) -> (Store, Record) {
    let store = Store::open(root).unwrap();
    let file = FileRef { digest: Digest::of(b"bytes"), bytes: 5 };
    let record = Record {
        preimage: json!({ "stage": "a", "params": { "x": 1 } }).to_string(),
        kind: "tokens".to_owned(),
        files: BTreeMap::from([("a/b.bin".to_owned(), file)]),
        measured: BTreeMap::from([("seconds".to_owned(), json!(0.1))]),
        provenance: Provenance { instance: "a".to_owned(), ..Provenance::default() },
    };
    let work = store.scratch(&record.key());
    fs::create_dir_all(&work).unwrap();
    fs::write(work.join("b.bin"), b"bytes").unwrap();
    store.publish(&record, &BTreeMap::from([("a/b.bin".to_owned(), work.join("b.bin"))])).unwrap();
    let keys = BTreeMap::from([("a".to_owned(), record.key())]);
    store
        .log_run(&RunLog { pipeline: "p.yaml".into(), overrides: vec!["a=b".to_owned()], keys, outcome: None })
        .unwrap();
    (store, record)
}

fn first_file(dir: &Path) -> PathBuf {
    let mut path = dir.to_owned();
    while path.is_dir() {
        path = fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()).min().unwrap();
    }
    path
}

/// Whatever a record, run log or memo says: no file is believed that is not there, and `verify` leaves a sound store.
#[test]
fn store_files() {
    let dir = folder();
    let root = dir.path().join("store");
    let (store, record) = small_store(&root);
    let text = dir.path().join("text.txt");
    fs::write(&text, "a text outside").unwrap();
    let known = store.source(&text, |_| {}).unwrap();
    let paths = ["actions", "runs", "sources/path", "sources/digest"].map(|f| first_file(&root.join(f)));
    let corpus = paths.clone().map(|p| fs::read(p).unwrap());
    fuzz("store files", &corpus, |which, bytes| {
        for (i, path) in paths.iter().enumerate() {
            fs::write(path, if i == which { bytes } else { &corpus[i] }).unwrap();
        }
        if let Lookup::Hit(found) = store.lookup(&record.key()) {
            assert!(found.key() == record.key() && found.files.values().all(|f| store.locate(f).is_some()));
        }
        let _ = store.last_run(Path::new("p.yaml"));
        let _ = store.garbage(&Policy::default());
        assert_eq!(store.source(&text, |_| {}).unwrap(), known);
        store.verify().unwrap();
        assert_eq!(store.verify().unwrap().1, []);
        store.garbage(&Policy::default()).unwrap();
    });
}

/// Whatever a cache file says: it is taken in whole, or refused and nothing changes.
#[test]
fn cache_files() {
    let dir = folder();
    let (from, record) = small_store(&dir.path().join("from"));
    let file = dir.path().join("cache.tar");
    from.export(std::slice::from_ref(&record), &file, &mut |_, _| {}).unwrap();
    let corpus = [fs::read(&file).unwrap()];
    let root = dir.path().join("to");
    fuzz("cache files", &corpus, |_, bytes| {
        fs::write(&file, bytes).unwrap();
        let to = Store::open(&root).unwrap();
        match to.import(&file, true, &mut |_, _| {}) {
            Ok(taken) => assert!(taken.results.iter().all(|r| matches!(to.lookup(&r.key()), Lookup::Hit(_)))),
            Err(fault) => {
                assert_eq!(fault.class(), Class::Data, "{fault}");
                assert!(!root.join("actions").exists() && !root.join("blobs").exists());
            }
        }
        assert_eq!(to.verify().unwrap().1, []);
        drop(to);
        if root.exists() {
            fs::remove_dir_all(&root).unwrap();
        }
    });
}
