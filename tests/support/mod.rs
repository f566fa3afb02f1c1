//! Runs the real binary in a folder of its own.
#![allow(dead_code, reason = "every test file uses its own part")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

pub(crate) mod campaign;

/// What a finished command left.
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    /// The last line of `--json`.
    pub(crate) fn json(&self) -> Value {
        let line = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|_| panic!("{}\n{}", self.stdout, self.stderr))
    }
}

/// A folder with its own store.
pub(crate) struct Place {
    dir: tempfile::TempDir,
}

/// The workspace's root.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The folder of embedded data, absolute.
pub(crate) fn data() -> String {
    let path = workspace().join("data").canonicalize().expect("data/");
    path.to_str().expect("a plain path").to_owned()
}

/// The folder of fixtures. A test that calls this is ignored unless the user asks for ignored tests.
pub(crate) fn fixtures() -> PathBuf {
    std::env::var_os("OOPS_FIXTURES").expect("OOPS_FIXTURES names the folder of fixtures").into()
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary folder") }
    }

    /// The same with a pipeline `p.yaml`, in which `DATA` is the folder of embedded data.
    pub(crate) fn of(pipeline: &str) -> Self {
        let place = Self::new();
        place.write("p.yaml", &pipeline.replace("DATA", &data()));
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("inside the folder")).expect("a folder");
        fs::write(&path, text).expect("a file");
        path
    }

    /// The command, not started: its store is this place's.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_oops"));
        command.args(args).current_dir(self.dir.path()).stdin(Stdio::null());
        command.env("OOPS_CACHE", self.path("store")).env("NO_COLOR", "1");
        command
    }

    pub(crate) fn oops(&self, args: &[&str]) -> Done {
        let out = self.command(args).output().expect("the binary starts");
        Done {
            code: out.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
        }
    }

    /// Runs a pipeline that must succeed; its last line as JSON.
    pub(crate) fn run(&self, pipeline: &Path, more: &[&str]) -> Value {
        let pipeline = pipeline.to_str().expect("a plain path");
        let done = self.oops(&[&["run", pipeline, "--json"], more].concat());
        assert_eq!(done.code, 0, "{}\n{}", done.stdout, done.stderr);
        done.json()
    }

    /// An artifact as JSON.
    pub(crate) fn show(&self, pipeline: &Path, stage: &str, more: &[&str]) -> Value {
        let pipeline = pipeline.to_str().expect("a plain path");
        let done = self.oops(&[&["show", pipeline, stage, "--json"], more].concat());
        assert_eq!(done.code, 0, "{}", done.stderr);
        serde_json::from_str(&done.stdout).expect("JSON")
    }

    pub(crate) fn verified(&self) {
        let done = self.oops(&["verify"]);
        assert_eq!(done.code, 0, "the store must verify\n{}\n{}", done.stdout, done.stderr);
    }
}

/// Names in a list of a run's last line.
pub(crate) fn names(run: &Value, list: &str) -> Vec<String> {
    let all = run[list].as_array().expect("a list");
    let mut names: Vec<String> = all.iter().map(|n| n.as_str().expect("a name").to_owned()).collect();
    names.sort();
    names
}

/// Perplexity of a model in what `show … quality --json` printed.
pub(crate) fn perplexity(quality: &Value, model: &str) -> f64 {
    let rows = quality["models"].as_array().expect("rows");
    let row = rows.iter().find(|r| r["model"] == model).expect("the model's row");
    row["perplexity"].as_f64().expect("a number")
}
