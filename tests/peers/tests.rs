//! The tests of `peers.rs`.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::support::{Place, workspace};

/// The Python of OOPS_PEERS_PYTHON, or else `python3`. Tests that call this are ignored unless the user asks for ignored tests.
fn python(packages: &[&str]) -> PathBuf {
    let python = std::env::var_os("OOPS_PEERS_PYTHON").map_or_else(|| "python3".into(), PathBuf::from);
    let import = format!("import {}", packages.join(", "));
    let found = Command::new(&python).args(["-c", &import]).output().is_ok_and(|o| o.status.success());
    assert!(found, "{} cannot {import}", python.display());
    python
}

/// ONNX Runtime's library inside a Python that has it.
fn library(python: &PathBuf) -> PathBuf {
    let find = "import onnxruntime, glob; print(glob.glob(onnxruntime.__path__[0] + '/capi/libonnxruntime.so.*')[0])";
    let out = Command::new(python).args(["-c", find]).output().expect("Python starts");
    String::from_utf8(out.stdout).expect("a path").trim().into()
}

/// What a script in `peers/` prints about a folder; it must succeed.
fn script(python: &PathBuf, name: &str, folder: &Path) -> Value {
    script_on(python, name, &[folder])
}

/// The same about several folders.
fn script_on(python: &PathBuf, name: &str, folders: &[&Path]) -> Value {
    let out = Command::new(python).arg(workspace().join("tests/peers").join(name)).args(folders).output();
    let out = out.expect("Python starts");
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{name}: {said}\n{}", String::from_utf8_lossy(&out.stderr));
    // vLLM's processes log to the same stream, even behind it.
    let line = said.lines().rfind(|line| line.starts_with('{'));
    serde_json::from_str(line.unwrap_or_default()).expect("JSON")
}

/// Runs an exporter on the embedded model, cut so that blocks differ, and copies its folder out.
fn exported(place: &Place, export: &str, with: &str) -> PathBuf {
    exported_for(place, "", export, with)
}

/// The same, cut for `targets`.
fn exported_for(place: &Place, targets: &str, export: &str, with: &str) -> PathBuf {
    exported_from(place, &workspace().join("data/model"), targets, export, with)
}

/// The same with another model.
fn exported_from(place: &Place, model: &Path, targets: &str, export: &str, with: &str) -> PathBuf {
    let model = model.display();
    let text = format!(
        "version: 1
stages:
  dense: {{ use: source.model, with: {{ path: {model} }} }}
  scores: {{ use: score.magnitude, in: {{ model: dense }} }}
  plan: {{ use: select.global, in: {{ model: dense, scores: scores }}, with: {{ remove_fraction: 0.3, targets: [{targets}] }} }}
  pruned: {{ use: reconstruct.none, in: {{ model: dense, plan: plan }} }}
  out: {{ use: {export}, in: {{ model: pruned, dense: dense }}, with: {{ {with} }} }}
"
    );
    let pipeline = place.write("export.yaml", &text);
    place.run(&pipeline, &[]);
    copied(place, &pipeline, "out")
}

/// Copies a stage's result into a folder of its name.
fn copied(place: &Place, pipeline: &Path, stage: &str) -> PathBuf {
    let folder = place.path(stage);
    let words = [pipeline.to_str(), folder.to_str()].map(|p| p.expect("a plain path"));
    let done = place.oops(&["show", words[0], stage, "--out", words[1]]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    folder
}

#[test]
#[ignore = "needs OOPS_PEERS_PYTHON"]
fn gguf_files_say_what_their_tensors_are() {
    let python = python(&["gguf"]);
    let place = Place::new();
    let said = script(&python, "gguf_reader.py", &exported(&place, "export.gguf", "format: q8_0"));
    assert_eq!((&said["architecture"], &said["blocks"]), (&"deci".into(), &6.into()), "{said}");
}

#[test]
#[ignore = "needs OOPS_PEERS_PYTHON"]
fn gguf_files_decode_what_the_model_decodes() {
    let python = python(&["xllamacpp"]);
    let place = Place::new();
    let said = script(&python, "llama_cpp.py", &exported(&place, "export.gguf", "format: f32"));
    assert_eq!(said["same"], 10, "{said}");
}

#[test]
#[ignore = "needs OOPS_PEERS_PYTHON"]
fn transformers_decodes_what_the_model_decodes() {
    let python = python(&["torch", "transformers"]);
    let cases = [
        ("remote", "", "OopsForCausalLM", 0, 6),
        ("remote", "vllm", "DeciLMForCausalLM", 6, 6),
        ("padded", "", "LlamaForCausalLM", 0, 0),
    ];
    for (form, targets, class, served, own) in cases {
        let place = Place::new();
        let folder = exported_for(&place, targets, "export.hf", &format!("form: {form}, dtype: f32"));
        let said = script(&python, "hugging_face.py", &folder);
        let found = (&said["class"], &said["same"], &said["block_configs"], &said["per_layer"]);
        assert_eq!(found, (&class.into(), &20.into(), &served.into(), &own.into()), "{said}");
    }
}

/// vLLM has attention for some head sizes only, and the embedded model's is none of them.
#[test]
#[ignore = "needs OOPS_PEERS_PYTHON"]
fn vllm_decodes_what_the_model_decodes() {
    let python = python(&["vllm"]);
    let place = Place::new();
    let model = place.path("model");
    let to = model.to_str().expect("a plain path");
    let made = place.oops(&["bench", "make-model", "--like", "smollm2-135m", "--blocks", "2", to]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    let folder = exported_from(&place, &model, "vllm", "export.hf", "form: remote, dtype: f32");
    let said = script(&python, "in_vllm.py", &folder);
    assert_eq!((&said["class"], &said["same"]), (&"DeciLMForCausalLM".into(), &10.into()), "{said}");
}

#[test]
#[ignore = "needs OOPS_PEERS_PYTHON"]
fn onnx_folders_decode_what_the_model_decodes() {
    let packages = ["numpy", "onnxruntime", "onnxruntime_genai"];
    let python = python(&packages);
    let place = Place::new();
    let library = library(&python);
    let stages = ["genai", "portable"].map(|form| {
        let with = format!("form: {form}, verify: native, runtime: {}", library.display());
        format!("  {form}: {{ use: export.onnx, in: {{ model: dense }}, with: {{ {with} }} }}\n")
    });
    let model = workspace().join("data/model");
    let source = format!("  dense: {{ use: source.model, with: {{ path: {} }} }}\n", model.display());
    let pipeline = place.write("onnx.yaml", &format!("version: 1\nstages:\n{source}{}", stages.concat()));
    place.run(&pipeline, &[]);
    for (form, runs) in [("genai", 2), ("portable", 1)] {
        let said = script(&python, "onnx.py", &copied(&place, &pipeline, form));
        assert_eq!(said["same"], 10 * runs, "{form}: {said}");
    }
    place.verified();
}

/// Runs a script that writes a model into `folder`.
fn made(python: &PathBuf, folder: &Path, kind: &str) {
    let out = Command::new(python).arg(workspace().join("tests/peers/make_model.py")).arg(folder).arg(kind).output();
    let out = out.expect("Python starts");
    assert!(out.status.success(), "{kind}: {}", String::from_utf8_lossy(&out.stderr));
}

/// Exports a model as `stages` (name, use, with) say, and asks each one's program for its logits.
fn logits_of(python: &PathBuf, kind: &str, stages: &[(&str, &str, &str)]) -> Vec<Value> {
    let place = Place::new();
    let model = place.path("model");
    made(python, &model, kind);
    let listed = |(name, export, with): &(&str, &str, &str)| {
        format!("  {name}: {{ use: {export}, in: {{ model: dense }}, with: {{ {with} }} }}\n")
    };
    let source = format!("  dense: {{ use: source.model, with: {{ path: {} }} }}\n", model.display());
    let list: String = stages.iter().map(listed).collect();
    let pipeline = place.write("logits.yaml", &format!("version: 1\nstages:\n{source}{list}"));
    place.run(&pipeline, &[]);
    let ask =
        |(name, _, _): &(&str, &str, &str)| script_on(python, "logits.py", &[&copied(&place, &pipeline, name), &model]);
    stages.iter().map(ask).collect()
}

/// There is no verdict without figures: on average one position per sequence or more was compared.
fn compared(said: &Value) {
    assert!(said["positions"].as_u64() >= said["sequences"].as_u64() && said["sequences"].as_u64() > Some(9), "{said}");
}

/// Every family, with a window, other special tokens, normalisers, and heads that do not fill the width.
const KINDS: [&str; 7] = ["llama", "mistral", "qwen2", "qwen2-window", "qwen2-heads", "qwen3", "sentencepiece"];

#[test]
#[ignore = "needs OOPS_PEERS_PYTHON"]
#[allow(clippy::print_stderr, reason = "figures of a test that passes")]
fn llama_cpp_gives_the_logits_of_transformers_on_text() {
    let python = python(&["torch", "transformers", "xllamacpp"]);
    for kind in KINDS {
        let said = &logits_of(&python, kind, &[("gguf", "export.gguf", "format: f32")])[0];
        eprintln!("{kind}: {said}");
        compared(said);
        // Without a window in llama.cpp, the file's context ends where the window does.
        let windowed = ["mistral", "qwen2-window"].contains(&kind);
        assert_eq!(said["notes"].to_string().contains("no sliding window"), windowed, "{kind}: {said}");
        assert!(windowed || said["longest"].as_u64() >= Some(200), "{kind}: {said}");
    }
}

#[test]
#[ignore = "needs OOPS_PEERS_PYTHON"]
#[allow(clippy::print_stderr, reason = "figures of a test that passes")]
fn exports_in_transformers_and_onnx_runtime_give_the_models_logits_on_text() {
    let python = python(&["torch", "transformers", "onnxruntime"]);
    for kind in KINDS {
        let stages =
            [("hf", "export.hf", ""), ("genai", "export.onnx", ""), ("portable", "export.onnx", "form: portable")];
        for (said, stage) in logits_of(&python, kind, &stages).iter().zip(stages) {
            eprintln!("{kind}, {}: {said}", stage.0);
            compared(said);
            assert!(said["longest"].as_u64() >= Some(200) && said["notes"] == serde_json::json!([]), "{kind}: {said}");
        }
    }
}
