//! Exports in the programs that they are made for, through the scripts in `peers/`. Each test needs a Python that has
//! them: OOPS_PEERS_PYTHON, or else `python3`.

mod support;

use std::{path::PathBuf, process::Command};

use serde_json::Value;
use support::{Place, workspace};

/// A Python that has the packages, or `None` after naming the skipped test on stderr.
#[allow(clippy::print_stderr, reason = "a skipped test says so")]
fn python(test: &str, packages: &[&str]) -> Option<PathBuf> {
    let python = std::env::var_os("OOPS_PEERS_PYTHON").map_or_else(|| "python3".into(), PathBuf::from);
    let import = format!("import {}", packages.join(", "));
    let found = Command::new(&python).args(["-c", &import]).output().is_ok_and(|o| o.status.success());
    if !found {
        eprintln!("skipped: {test} ({} has no {})", python.display(), packages.join(", "));
    }
    found.then_some(python)
}

/// ONNX Runtime's library inside a Python that has it.
fn library(python: &PathBuf) -> PathBuf {
    let find = "import onnxruntime, glob; print(glob.glob(onnxruntime.__path__[0] + '/capi/libonnxruntime.so.*')[0])";
    let out = Command::new(python).args(["-c", find]).output().expect("Python starts");
    String::from_utf8(out.stdout).expect("a path").trim().into()
}

#[test]
fn onnx_folders_decode_what_the_model_decodes() {
    let packages = ["numpy", "onnxruntime", "onnxruntime_genai"];
    let Some(python) = python("onnx_folders_decode_what_the_model_decodes", &packages) else { return };
    let place = Place::new();
    let library = library(&python);
    let stages = ["genai", "portable"].map(|form| {
        let with = format!("form: {form}, runtime: {}", library.display());
        format!("  {form}: {{ use: export.onnx, in: {{ model: dense }}, with: {{ {with} }} }}\n")
    });
    let model = workspace().join("data/model");
    let source = format!("  dense: {{ use: source.model, with: {{ path: {} }} }}\n", model.display());
    let pipeline = place.write("onnx.yaml", &format!("version: 1\nstages:\n{source}{}", stages.concat()));
    place.run(&pipeline, &[]);
    for (form, runs) in [("genai", 2), ("portable", 1)] {
        let folder = place.path(form);
        let to = folder.to_str().expect("a plain path");
        let done = place.oops(&["show", pipeline.to_str().expect("a plain path"), form, "--out", to]);
        assert_eq!(done.code, 0, "{}", done.stderr);
        let script = workspace().join("tests/peers/onnx.py");
        let out = Command::new(&python).arg(script).arg(&folder).output().expect("Python starts");
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success(), "{form}: {said}\n{}", String::from_utf8_lossy(&out.stderr));
        let said: Value = serde_json::from_str(said.lines().last().unwrap_or_default()).expect("JSON");
        assert_eq!(said["same"], 3 * runs, "{form}: {said}");
    }
    place.verified();
}
