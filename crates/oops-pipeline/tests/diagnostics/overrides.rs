//! Overrides of the command line: what they change, and how wrong ones are shown.

use std::{fs, path::PathBuf};

use oops_pipeline::Graph;

use crate::{fakes, problems};

const GOOD: &str = "
version: 1
stages:
  dense: { use: source.model, with: { path: model.txt } }
  text: { use: source.text, in: { model: dense }, with: { path: model.txt } }
  quality: { use: eval.perplexity, in: { models: dense, tokens: text } }
";

fn good(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("oops-overrides-{}-{name}.yaml", std::process::id()));
    fs::write(&path, GOOD).unwrap();
    path
}

#[test]
fn overrides_reach_the_graph() {
    let path = good("reach");
    let registry = fakes::registry();
    let set = ["text.with.sequence_tokens=64", "quality.in.models=[dense, dense]", "defaults.seed=5"];
    let graph = Graph::load(&path, &set.map(str::to_owned), &registry).unwrap();
    assert_eq!(graph.seed, 5);
    assert_eq!(graph.nodes[1].params["sequence_tokens"], 64);
    assert_eq!(graph.nodes[2].inputs[0], ("models", vec![0, 0]));
    fs::remove_file(path).unwrap();
}

#[test]
fn a_swap_drops_what_the_file_gave_to_the_old_stage() {
    let path = good("swap");
    let registry = fakes::registry();
    let graph = Graph::load(&path, &["dense.use=source.other".to_owned()], &registry).unwrap();
    assert_eq!(graph.nodes[0].stage.name(), "source.other");
    assert_eq!(graph.notes, ["dense: source.other has no `path`, so the file's with.path is dropped"]);
    let set = ["dense.use=source.other", "dense.with.path=x"].map(str::to_owned);
    let wrong = Graph::load(&path, &set, &registry).err().unwrap();
    assert!(wrong.render(false, 100).contains("unknown key `path`"), "what the user sets is never dropped");
    fs::remove_file(path).unwrap();
}

#[test]
fn wrong_overrides_are_shown_as_they_were_typed() {
    let path = good("wrong");
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_snapshot_path("../snapshots");
    let flags = [
        "dense.use=source.modle",
        "text.with.sequence_tokens=many",
        "text.with.sequence_token=3",
        "text.in.model=dens",
        "text.in.model=[dense]",
        "text.sequence_tokens=3",
        "txt.with.sequence_tokens=3",
        "text.with.sequence_tokens",
        "defaults.seed=x",
    ];
    let shown = flags.map(|f| problems(&path, &[f.to_owned()]).unwrap_or_else(|| panic!("{f} is accepted")));
    settings.add_filter(&regex_free(&path), "p.yaml");
    settings.bind(|| insta::assert_snapshot!("overrides", shown.join("\n")));
    fs::remove_file(path).unwrap();
}

/// The path as a pattern that matches only itself.
fn regex_free(path: &std::path::Path) -> String {
    path.display().to_string().replace('.', "\\.")
}
