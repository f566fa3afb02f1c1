//! Sweep files: what their cells are, and what the user sees of a broken one in `tests/sweeps/bad/`.

use std::{fs, path::Path};

use oops_pipeline::{Judged, Sweep};

use crate::{UNWRAPPED, fakes};

/// What is wrong with a sweep, rendered.
fn problems(path: &Path, flags: &[&str], judge: Option<&str>) -> Option<String> {
    let flags: Vec<String> = flags.iter().map(|f| (*f).to_owned()).collect();
    let read = Sweep::open(path, &flags, judge).and_then(|s| {
        let used = s.graphs(&fakes::registry())?.1;
        used.iter().position(|u| !u).map_or(Ok(()), |i| Err(s.useless_flag(i)))
    });
    read.err().map(|p| format!("exit code {}\n{}", p.class().exit_code(), p.render(false, UNWRAPPED)))
}

fn settings(folder: &str) -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_snapshot_path(format!("../snapshots/{folder}"));
    settings
}

#[test]
fn broken_sweeps_are_explained() {
    let settings = settings("sweeps");
    let mut files: Vec<_> = fs::read_dir("tests/sweeps/bad").unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 30);
    for path in files {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let shown = problems(&path, &[], None).unwrap_or_else(|| panic!("{name} is accepted"));
        settings.bind(|| insta::assert_snapshot!(name, shown));
    }
}

#[test]
fn wrong_flags_of_a_sweep_are_shown_as_they_were_typed() {
    let good = Path::new("tests/sweeps/good.yaml");
    let base = Path::new("tests/sweeps/base.yaml");
    let shown = [
        problems(good, &["text.with.sequence_tokens=4,5"], None),
        problems(good, &["txt.with.sequence_tokens=4"], None),
        problems(good, &["text.sequence_tokens=4"], None),
        problems(base, &["text.with.sequence_tokens=4,many"], None),
        problems(base, &[], Some("prund")),
        problems(Path::new("tests/sweeps/no.yaml"), &[], None),
    ];
    let shown: Vec<String> = shown.into_iter().map(|s| s.expect("each is refused")).collect();
    settings("sweeps").bind(|| insta::assert_snapshot!("flags", shown.join("\n")));
}

/// Name, seed, parameters of `dense` and `text`, judged model and measuring stages of a cell.
fn describe(name: &str, j: &Judged<'_>) -> String {
    let params = |n: &str| j.graph.nodes[j.graph.find(n).unwrap()].params.to_string();
    let names = |list: &[usize]| list.iter().map(|&i| j.graph.nodes[i].name.as_str()).collect::<Vec<_>>().join(" ");
    let dense: Vec<usize> = j.dense.into_iter().collect();
    format!(
        "{name}: seed {}, dense {}, text {}, judged {} from {} by {}",
        j.graph.seed,
        params("dense"),
        params("text"),
        names(&[j.model]),
        names(&dense),
        names(&j.metrics)
    )
}

fn cells(path: &str, flags: &[&str]) -> String {
    let flags: Vec<String> = flags.iter().map(|f| (*f).to_owned()).collect();
    let registry = fakes::registry();
    let sweep = Sweep::open(Path::new(path), &flags, None).unwrap();
    let (graphs, _) = sweep.graphs(&registry).unwrap();
    let lines = sweep.cells.iter().zip(&graphs).map(|(c, j)| describe(&c.name, j));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn rows_columns_and_seeds_give_a_graph_each() {
    settings("sweeps").bind(|| insta::assert_snapshot!("cells", cells("tests/sweeps/good.yaml", &[])));
}

#[test]
fn flags_win_over_everything_and_skip_rows_that_cannot_take_them() {
    let flags = ["text.with.sequence_tokens=9", "twice.in.tokens=text", "dense.with.path=other.txt"];
    let text = cells("tests/sweeps/good.yaml", &flags);
    assert_eq!(text.lines().count(), 16);
    assert!(text.lines().all(|l| l.contains("\"sequence_tokens\":9")), "{text}");
    // Half of the rows replace `dense` by a stage that has no path, three of four have no stage `twice`.
    assert_eq!(text.matches("other.txt").count(), 8, "{text}");
}

#[test]
fn flags_of_a_pipeline_with_several_values_make_rows() {
    let text = cells(
        "tests/sweeps/base.yaml",
        &["text.with.sequence_tokens=4,5", "defaults.seed=3", "text.with.path=a,'b,c'"],
    );
    let names: Vec<&str> = text.lines().map(|l| l.split(": ").next().unwrap()).collect();
    assert_eq!(
        names,
        [
            "text.with.sequence_tokens=4, text.with.path=a",
            "text.with.sequence_tokens=4, text.with.path='b,c'",
            "text.with.sequence_tokens=5, text.with.path=a",
            "text.with.sequence_tokens=5, text.with.path='b,c'",
        ]
    );
    assert!(text.lines().all(|l| l.contains("seed 3,")), "{text}");
    assert!(cells("tests/sweeps/base.yaml", &[]).starts_with("the pipeline: "));
}
