//! Pipeline files: text to checked graph.

/// The stages of the binary.
#[path = "../../../crates/oops-cli/src/registry.rs"]
mod registry;

use std::{fs, path::PathBuf};

use oops_core::Class;
use oops_pipeline::Graph;
use oops_stage::Registry;

use crate::{Target, folder, workspace};

/// Law: a graph, or problems of class config or data with a text.
pub(crate) fn target() -> Target {
    let registry = Registry::new(registry::stages()).expect("no stage twice");
    let dir = folder();
    let file = dir.path().join("p.yaml");
    Target::new(dir, corpus(), move |_, bytes| {
        fs::write(&file, bytes).unwrap();
        let checked = Graph::load(&file, &[], &registry).and_then(|mut graph| {
            let all = (0..graph.nodes.len()).collect();
            graph.check(&all)
        });
        if let Err(problems) = checked {
            assert!(matches!(problems.class(), Class::Config | Class::Data), "{}", problems.render(false, 100));
            assert!(!problems.render(false, 100).is_empty());
        }
    })
}

/// The pipelines of the project, each with its data where it is.
fn corpus() -> Vec<Vec<u8>> {
    let data = workspace().join("data").canonicalize().unwrap();
    let mut files: Vec<PathBuf> =
        fs::read_dir(workspace().join("pipelines")).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "yaml"));
    files.sort();
    let read = |p: &PathBuf| fs::read_to_string(p).unwrap().replace("../data", data.to_str().unwrap()).into_bytes();
    files.iter().map(read).collect()
}
