//! Broken inputs: each gives one clear error with place and remedy, its documented exit code, and a store that verifies.

mod support;

use std::{fs, path::Path};

use support::{Place, names, workspace};

/// The tiny pipeline that every case breaks in its own way; `model/` and `text.jsonl` are copies of the embedded ones.
const PIPELINE: &str = "\
version: 1
stages:
  dense: { use: source.model, with: { path: model } }
  text: { use: source.text, in: { model: dense }, with: { path: text.jsonl, separator: '', sequences: 4, sequence_tokens: 32 } }
  stats: { use: calibrate.activations, in: { model: dense, tokens: text } }
  scores: { use: score.flap, in: { model: dense, stats: stats } }
  plan: { use: select.global, in: { model: dense, scores: scores }, with: { remove_fraction: 0.3 } }
  pruned: { use: reconstruct.ridge, in: { model: dense, plan: plan, stats: stats } }
";

fn place() -> Place {
    let place = Place::new();
    let data = workspace().join("data");
    fs::create_dir_all(place.path("model")).unwrap();
    for entry in fs::read_dir(data.join("model")).unwrap() {
        let from = entry.unwrap().path();
        fs::copy(&from, place.path("model").join(from.file_name().unwrap())).unwrap();
    }
    fs::copy(data.join("text/calibration.jsonl"), place.path("text.jsonl")).unwrap();
    place.write("p.yaml", PIPELINE);
    place
}

/// Runs the pipeline, expects `code`, and gives what a person reads, without what differs between machines.
fn complaint(place: &Place, args: &[&str], code: i32) -> String {
    let done = place.oops(&[&["run", "p.yaml", "--quiet"], args].concat());
    assert_eq!(done.code, code, "{}\n{}", done.stdout, done.stderr);
    assert!(!done.stderr.contains("panicked"), "{}", done.stderr);
    if place.path("store").is_dir() {
        place.verified();
    }
    let root = place.path("").canonicalize().unwrap();
    done.stderr.replace(root.to_str().unwrap(), "<place>").replace(place.path("").to_str().unwrap(), "<place>/")
}

fn broken_pipeline(from: &str, to: &str) -> String {
    let place = place();
    assert!(PIPELINE.contains(from));
    place.write("p.yaml", &PIPELINE.replace(from, to));
    complaint(&place, &[], 2)
}

fn broken_model(damage: impl Fn(&Path), code: i32) -> String {
    let place = place();
    damage(&place.path("model"));
    complaint(&place, &[], code)
}

fn edit(path: &Path, change: impl Fn(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_misspelt_parameter() {
    insta::assert_snapshot!(broken_pipeline("sequence_tokens", "sequence_token"));
}

#[test]
fn an_unknown_stage() {
    insta::assert_snapshot!(broken_pipeline("score.flap", "score.flop"));
}

#[test]
fn a_cycle() {
    insta::assert_snapshot!(broken_pipeline(
        "calibrate.activations, in: { model: dense",
        "calibrate.activations, in: { model: pruned"
    ));
}

#[test]
fn a_port_of_the_wrong_kind() {
    insta::assert_snapshot!(broken_pipeline("scores: scores", "scores: stats"));
}

#[test]
fn yaml_that_is_none() {
    insta::assert_snapshot!(broken_pipeline("stages:", "stages: {"));
}

#[test]
fn a_budget_that_cannot_be_met() {
    insta::assert_snapshot!(broken_pipeline("remove_fraction: 0.3", "remove_fraction: 0.99"));
}

#[test]
fn a_missing_text() {
    let place = place();
    fs::remove_file(place.path("text.jsonl")).unwrap();
    insta::assert_snapshot!(complaint(&place, &[], 3));
}

#[test]
fn a_text_shorter_than_one_sequence() {
    let place = place();
    place.write("text.jsonl", "{\"text\": \"Too short.\"}\n");
    insta::assert_snapshot!(complaint(&place, &[], 3));
}

#[test]
fn a_text_that_is_no_json() {
    let place = place();
    place.write("text.jsonl", "{\"text\": \"fine\"}\nnot JSON\n");
    insta::assert_snapshot!(complaint(&place, &[], 3));
}

#[test]
fn a_truncated_shard() {
    let cut = |dir: &Path| edit(&dir.join("model.safetensors"), |b| b.truncate(b.len() / 2));
    insta::assert_snapshot!(broken_model(cut, 3));
}

#[test]
fn a_weight_that_is_not_a_number() {
    // bf16 or f32 little-endian: all bits of the last values set is a NaN in both.
    let nan = |dir: &Path| {
        edit(&dir.join("model.safetensors"), |b| {
            let header = 8 + u64::from_le_bytes(b[..8].try_into().unwrap()) as usize;
            let text = String::from_utf8(b[8..header].to_vec()).unwrap();
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            let at = json["model.layers.1.mlp.down_proj.weight"]["data_offsets"][0].as_u64().unwrap() as usize;
            b[header + at..header + at + 8].fill(0xff);
        });
    };
    insta::assert_snapshot!(broken_model(nan, 3));
}

#[test]
fn a_tensor_of_a_wrong_type() {
    let wrong = |dir: &Path| {
        edit(&dir.join("model.safetensors"), |b| {
            let header = 8 + u64::from_le_bytes(b[..8].try_into().unwrap()) as usize;
            let text = String::from_utf8(b[8..header].to_vec()).unwrap();
            let same_width = if text.contains("\"BF16\"") { ("\"BF16\"", "\"I16\" ") } else { ("\"F32\"", "\"I32\"") };
            b.splice(8..header, text.replace(same_width.0, same_width.1).into_bytes());
        });
    };
    insta::assert_snapshot!(broken_model(wrong, 3));
}

#[test]
fn a_tokenizer_of_another_model() {
    // Every token number moves far beyond the vocabulary.
    let other = |dir: &Path| {
        let path = dir.join("tokenizer.json");
        let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        for id in json["model"]["vocab"].as_object_mut().unwrap().values_mut() {
            *id = (id.as_u64().unwrap() + 100_000).into();
        }
        fs::write(path, json.to_string()).unwrap();
    };
    insta::assert_snapshot!(broken_model(other, 3));
}

#[test]
fn an_unknown_family() {
    let other = |dir: &Path| {
        edit(&dir.join("config.json"), |b| {
            *b = String::from_utf8(b.clone()).unwrap().replace("\"llama\"", "\"mamba\"").into_bytes();
        });
    };
    insta::assert_snapshot!(broken_model(other, 3));
}

#[test]
fn a_gguf_file_without_a_tokenizer_is_refused_before_any_work() {
    let place = place();
    fs::remove_file(place.path("model/tokenizer.json")).unwrap();
    place.write(
        "p.yaml",
        "version: 1\nstages:\n  dense: { use: source.model, with: { path: model } }\n  gguf: { use: export.gguf, in: { model: dense } }\n",
    );
    insta::assert_snapshot!(complaint(&place, &[], 2));
    assert!(!place.path("store/actions").exists(), "nothing ran");
}

#[test]
fn what_reads_no_text_needs_no_tokenizer() {
    let place = place();
    fs::remove_file(place.path("model/tokenizer.json")).unwrap();
    let stages = [
        "dense: { use: source.model, with: { path: model } }",
        "scores: { use: score.magnitude, in: { model: dense } }",
        "plan: { use: select.uniform, in: { model: dense, scores: scores }, with: { remove_fraction: 0.3 } }",
        "pruned: { use: reconstruct.none, in: { model: dense, plan: plan } }",
        "hf: { use: export.hf, in: { model: pruned } }",
    ];
    place.write("p.yaml", &format!("version: 1\nstages:\n  {}\n", stages.join("\n  ")));
    let run = place.run(&place.path("p.yaml"), &[]);
    assert_eq!(names(&run, "executed").len(), stages.len());
}

#[test]
fn an_onnx_runtime_that_is_not_there() {
    let place = place();
    place.write(
        "p.yaml",
        "version: 1\nstages:\n  dense: { use: source.model, with: { path: model } }\n  onnx: { use: export.onnx, in: { model: dense }, with: { verify: native, runtime: /nowhere/libonnxruntime.so } }\n",
    );
    insta::assert_snapshot!(complaint(&place, &[], 5));
}

#[test]
#[cfg(not(feature = "cuda"))]
fn a_device_that_this_build_does_not_know() {
    insta::assert_snapshot!(complaint(&place(), &["--set", "defaults.device=cuda"], 5));
}

#[test]
fn a_store_that_is_a_file() {
    let place = place();
    place.write("store", "in the way");
    insta::assert_snapshot!(complaint(&place, &[], 6));
}

/// A full disk, as a process sees it: files may not grow beyond a few blocks.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk() {
    let place = place();
    let line = "trap '' XFSZ; ulimit -f 40; exec \"$0\" run p.yaml --quiet";
    let out = std::process::Command::new("bash")
        .args(["-c", line, env!("CARGO_BIN_EXE_oops")])
        .current_dir(place.path(""))
        .env("OOPS_CACHE", place.path("store"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(6), "{text}");
    assert!(text.contains("cannot write") && text.contains("--cache"), "{text}");
    place.verified();
    // With room again, the run goes on.
    let done = place.oops(&["run", "p.yaml", "--quiet"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
}
