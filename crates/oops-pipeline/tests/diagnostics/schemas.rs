//! The schemas for editors: every file of this repository is accepted, and every broken file is refused whose error a
//! schema can see.

use std::{
    fs,
    path::{Path, PathBuf},
};

use boon::{Compiler, SchemaIndex, Schemas};
use oops_pipeline::schema;
use serde_json::Value;

use crate::fakes;

struct Schema(Schemas, SchemaIndex);

impl Schema {
    fn new(value: Value) -> Self {
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.add_resource("schema.json", value).unwrap();
        let index = compiler.compile("schema.json", &mut schemas).unwrap();
        Self(schemas, index)
    }

    fn stored(path: &str) -> Self {
        Self::new(serde_json::from_str(&fs::read_to_string(pipelines().join(path)).unwrap()).unwrap())
    }

    fn objection(&self, value: &Value) -> Option<String> {
        self.0.validate(value, self.1).err().map(|e| e.to_string())
    }
}

fn pipelines() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    let mut all: Vec<_> = all.filter(|p| p.extension().is_some_and(|e| e == "yaml")).collect();
    all.sort();
    all
}

/// The file as an editor sees it; none if it is no YAML.
fn value(path: &Path) -> Option<Value> {
    serde_yaml::from_str(&fs::read_to_string(path).unwrap()).ok()
}

#[test]
fn every_file_of_this_repository_is_accepted_and_names_its_schema() {
    let folders = [(".", "schema.json", "schema.json"), ("ablations", "sweep.schema.json", "../sweep.schema.json")];
    for (folder, schema, named) in folders {
        let schema = Schema::stored(schema);
        let files = files(&pipelines().join(folder));
        assert!(files.len() >= 8, "{folder}");
        for path in files {
            assert_eq!(schema.objection(&value(&path).unwrap()), None, "{}", path.display());
            let first = format!("# yaml-language-server: $schema={named}\n");
            assert!(fs::read_to_string(&path).unwrap().starts_with(&first), "{}", path.display());
        }
    }
}

/// Refuses all broken files of a folder but those in `unseen`, whose errors no schema can see.
fn refuses(schema: Value, folder: &str, unseen: &[&str]) {
    let schema = Schema::new(schema);
    let mut seen = Vec::new();
    for path in files(Path::new(folder)) {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        // What is no YAML an editor marks without a schema; keys that are said twice too.
        let objection = value(&path).map(|v| schema.objection(&v).is_some());
        assert_eq!(
            objection,
            if unseen.contains(&name.as_str()) { Some(false) } else { objection.and(Some(true)) },
            "{name}"
        );
        seen.push(name);
    }
    assert!(unseen.iter().all(|u| seen.iter().any(|s| s == u)), "a file of {unseen:?} is gone");
}

#[test]
fn broken_pipelines_are_refused_where_a_schema_can_see_it() {
    let unseen = [
        "check-of-a-parameter",
        "check-of-an-input",
        "cycle",
        "cycle-of-one",
        "duplicate-parameter",
        "duplicate-stage",
        "missing-file",
        "unknown-instance",
        "wrong-port-kind",
    ];
    refuses(schema::pipeline(&fakes::registry()), "tests/bad", &unseen);
}

#[test]
fn broken_sweeps_are_refused_where_a_schema_can_see_it() {
    let unseen = [
        "cycle-by-a-row",
        "duplicate-row",
        "figure-that-measures-nothing",
        "figure-unknown",
        "judge-not-said",
        "judge-that-is-no-model",
        "judge-that-was-not-made",
        "judge-unknown",
        "null-of-a-port-that-must-be-connected",
        "null-of-nothing",
        "parameter-that-the-new-stage-does-not-know",
        "pipeline-that-is-not-there",
        "row-and-column-set-the-same",
        "seeds-and-a-set",
        "set-for-a-stage-that-every-row-replaces",
        "set-of-an-unknown-stage",
        "set-that-changes-no-row",
        "value-of-wrong-type-in-a-column",
    ];
    refuses(schema::sweep(&fakes::registry()), "tests/sweeps/bad", &unseen);
}
