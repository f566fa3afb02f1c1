//! Folders that other programs make, each read right or refused with what it is and what to do.

use std::fs;

use serde_json::json;
use tempfile::TempDir;

use crate::hf::files::{GGUF, INDEX, SINGLE, list};

/// A folder with these files (path, content).
fn place(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    dir
}

fn refusal(files: &[(&str, &str)]) -> String {
    list(place(files).path()).unwrap_err().to_string()
}

const CONFIG: (&str, &str) = ("config.json", "{}");
const WEIGHTS: (&str, &str) = (SINGLE, "weights");

/// Files of a folder (name, content), and what the message must say.
type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);

#[test]
fn what_is_no_checkpoint_says_what_it_is_and_what_to_do() {
    let lora = r#"{"base_model_name_or_path": "meta/llama"}"#;
    let cases: [Case<'_>; 14] = [
        (&[("adapter_config.json", lora), CONFIG, WEIGHTS], &["adapter", "meta/llama", "merge_and_unload"]),
        (&[("hf_quant_config.json", r#"{"quantization": {"quant_algo": "FP8"}}"#), CONFIG, WEIGHTS], &["ModelOpt"]),
        (&[("quantize_config.json", r#"{"bits": 4}"#), CONFIG, WEIGHTS], &["GPTQ", "before quantisation"]),
        (&[CONFIG, ("pytorch_model.bin", "PK")], &["pickled", "pytorch_model.bin", "save_pretrained"]),
        (&[("params.json", "{}"), ("consolidated.00.pth", "PK")], &["Meta's own format", "above `original`"]),
        (&[("params.json", "{}"), ("consolidated.safetensors", "x")], &["Mistral's own format"]),
        (&[CONFIG, ("model.onnx", "x")], &["another framework's", "model.onnx"]),
        (&[CONFIG, ("model.fp16.safetensors", "x")], &["model.fp16.safetensors", "neither model.safetensors"]),
        (&[WEIGHTS], &["config.json is not in the folder"]),
        (&[CONFIG], &["neither model.safetensors"]),
        (&[("checkpoint-500/config.json", "{}")], &["give one of them: checkpoint-500"]),
        (&[("models--a--b/refs/main", "x"), ("models--c--d/refs/main", "x")], &["many models", "models--a--b"]),
        (
            &[("a-00001-of-00002.gguf", "x"), ("a-00002-of-00002.gguf", "x")],
            &["split into 2", "--merge a-00001", "a.gguf"],
        ),
        (&[("a-Q4.gguf", "x"), ("a-Q8.gguf", "x")], &["2 .gguf files", "a-Q4.gguf, a-Q8.gguf"]),
    ];
    for (files, words) in cases {
        let text = refusal(files);
        assert!(words.iter().all(|w| text.contains(w)), "{files:?}: {text}");
    }
}

#[test]
fn one_file_that_is_no_checkpoint_says_so() {
    let dir = place(&[("m.bin", "x"), ("m.safetensors", "x"), ("blob", "GGUFxxxx"), ("m.gguf", "x")]);
    let fault = |name: &str| list(&dir.path().join(name)).unwrap_err().to_string();
    assert!(fault("m.bin").contains("pickles are not read"));
    assert!(fault("m.safetensors").contains("give the folder"));
    for name in ["blob", "m.gguf"] {
        assert_eq!(list(&dir.path().join(name)).unwrap(), [(GGUF.to_owned(), dir.path().join(name))]);
    }
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    for name in [SINGLE, "config.json"] {
        let files = [CONFIG, WEIGHTS].map(|f| if f.0 == name { (name, pointer) } else { f });
        assert!(refusal(&files).contains("git lfs pull"), "{name}");
    }
}

#[test]
fn a_gguf_file_beside_a_configuration_is_the_checkpoint() {
    let dir = place(&[CONFIG, ("model-q4.gguf", "GGUF")]);
    assert_eq!(list(dir.path()).unwrap(), [(GGUF.to_owned(), dir.path().join("model-q4.gguf"))]);
}

#[test]
fn the_single_file_counts_before_an_index() {
    let map = |shard: &str| json!({"weight_map": {"a": shard}}).to_string();
    let old = map("model-00001-of-00002.safetensors");
    let dir = place(&[CONFIG, WEIGHTS, (INDEX, &old), ("model-00001-of-00002.safetensors", "old")]);
    let names = |dir: &TempDir| list(dir.path()).unwrap().into_iter().map(|f| f.0).collect::<Vec<_>>();
    assert_eq!(names(&dir), ["config.json", SINGLE, INDEX]);
    assert!(crate::hf::files::is_stale(&dir.path().join(INDEX)));
    let own = place(&[(INDEX, &map(SINGLE))]);
    assert!(!crate::hf::files::is_stale(&own.path().join(INDEX)));
}

#[test]
fn the_hugging_face_cache_is_read_at_its_current_snapshot() {
    let files = |main: &'static str| {
        place(&[
            ("refs/main", main),
            ("blobs/x", ""),
            ("snapshots/old/config.json", "{}"),
            ("snapshots/new/config.json", "{}"),
            ("snapshots/new/model.safetensors", "weights"),
        ])
    };
    let dir = files("new\n");
    assert_eq!(list(dir.path()).unwrap()[1], (SINGLE.to_owned(), dir.path().join("snapshots/new").join(SINGLE)));
    let lost = list(files("gone").path()).unwrap_err().to_string();
    assert!(lost.contains("names (gone)") && lost.contains("new, old"), "{lost}");
    let only = place(&[("blobs/x", ""), ("snapshots/a/config.json", "{}"), ("snapshots/a/model.safetensors", "x")]);
    assert_eq!(list(only.path()).unwrap().len(), 2);
}

#[test]
fn manifests_of_ollama_lead_to_their_weights() {
    let manifest = |extra: &str| {
        format!(
            r#"{{"schemaVersion": 2, "layers": [
                {{"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:abc"}}{extra}]}}"#
        )
    };
    let (plain, at) = (manifest(""), "manifests/registry.ollama.ai/library/llama3.2");
    let tag = format!("{at}/1b");
    let dir = place(&[(&tag, &plain), ("blobs/sha256-abc", "GGUF")]);
    let found = list(&dir.path().join(&tag)).unwrap();
    assert_eq!(found, [(GGUF.to_owned(), dir.path().join("blobs/sha256-abc"))]);
    assert!(list(&dir.path().join(at)).unwrap_err().to_string().contains("give one of the files: 1b"));
    assert!(list(dir.path()).unwrap_err().to_string().contains("models of Ollama"));
    fs::remove_file(dir.path().join("blobs/sha256-abc")).unwrap();
    assert!(list(&dir.path().join(&tag)).unwrap_err().to_string().contains("ollama pull"));
    let adapted = manifest(r#", {"mediaType": "application/vnd.ollama.image.adapter", "digest": "sha256:d"}"#);
    let dir = place(&[(&tag, &adapted), ("blobs/sha256-abc", "GGUF")]);
    assert!(list(&dir.path().join(&tag)).unwrap_err().to_string().contains("adapter"));
}
