//! Every broken pipeline in `tests/bad/` is named after its error, and what the user sees of it is a snapshot.

mod fakes;
mod overrides;
mod schemas;
mod sweeps;

use std::{fs, path::Path};

use oops_pipeline::Graph;

/// Loads and checks a pipeline; what is wrong with it, rendered.
fn problems(path: &Path, overrides: &[String]) -> Option<String> {
    let registry = fakes::registry();
    let checked = Graph::load(path, overrides, &registry).and_then(|mut graph| {
        let all = (0..graph.nodes.len()).collect();
        graph.check(&all)
    });
    checked.err().map(|p| format!("exit code {}\n{}", p.class().exit_code(), p.render(false, UNWRAPPED)))
}

/// Wide enough that no path of this machine decides where a line breaks.
pub(crate) const UNWRAPPED: usize = 1000;

#[test]
fn broken_pipelines_are_explained() {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_snapshot_path("../snapshots");
    settings.add_filter(env!("CARGO_MANIFEST_DIR"), "[crate]");
    let mut files: Vec<_> = fs::read_dir("tests/bad").unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 30);
    for path in files {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let shown = problems(&path, &[]).unwrap_or_else(|| panic!("{name} is accepted"));
        settings.bind(|| insta::assert_snapshot!(name, shown));
    }
}

/// A pipeline with every style of YAML.
const STYLES: &str = "
version: 1 # é
about: >
  folded — text
stages:
  dense: { use: source.model, with: { path: \"model.txt\" } }
  text:
    use: source.text
    in: { model: dense }
    with:
      path: 'model.txt'
  quality: { use: eval.perplexity, in: { models: [dense, dense], tokens: text } }
";

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(at in 0..STYLES.len(), cut in 0usize..12, insert in "[ -~\n\té→]{0,6}") {
        let boundary = |mut i: usize| {
            while !STYLES.is_char_boundary(i) {
                i += 1;
            }
            i
        };
        let (start, end) = (boundary(at), boundary((at + cut).min(STYLES.len())));
        let text = format!("{}{insert}{}", &STYLES[..start], &STYLES[end..]);
        let path = std::env::temp_dir().join(format!("oops-styles-{}.yaml", std::process::id()));
        fs::write(&path, text).unwrap();
        let _ = problems(&path, &[]);
    }
}
