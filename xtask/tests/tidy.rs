//! House rules that the compiler does not check.

use std::{
    fs,
    path::{Path, PathBuf},
};

const MAX_LINES: usize = 300;

/// Crates that may name a heavy dependency in their manifest: it is what they hide.
const HIDDEN: &[(&str, &[&str])] = &[
    ("faer", &["oops-linalg"]),
    ("clarabel", &["oops-linalg"]),
    ("serde_yaml", &["oops-pipeline"]),
    ("petgraph", &["oops-pipeline"]),
    ("parquet", &["oops-artifact", "oops-source"]),
    (
        "candle-core",
        &[
            "oops-model",
            "oops-source",
            "oops-calibrate",
            "oops-score",
            "oops-reconstruct",
            "oops-distill",
            "oops-eval",
            "oops-export",
            "oops-synth",
        ],
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let skip = |p: &Path| p.file_name().is_some_and(|n| n == "target" || n.to_string_lossy().starts_with('.'));
    let entries = fs::read_dir(dir).unwrap().flatten().map(|e| e.path()).filter(|p| !skip(p));
    let below = entries.flat_map(|p| match p.is_dir() {
        true => files(&p, extension),
        false if p.extension().is_some_and(|e| e == extension) => vec![p],
        false => Vec::new(),
    });
    below.collect()
}

fn sources() -> Vec<(String, String)> {
    let all = files(&root(), "rs").into_iter();
    let shown = |p: &PathBuf| p.strip_prefix(root()).unwrap().display().to_string();
    all.map(|p| (shown(&p), fs::read_to_string(&p).unwrap())).collect()
}

fn breaking(rule: impl Fn(&str) -> bool) -> Vec<String> {
    sources().into_iter().filter(|(_, text)| rule(text)).map(|(path, _)| path).collect()
}

#[test]
fn every_file_opens_by_saying_what_it_is() {
    assert!(sources().len() > 50);
    assert_eq!(breaking(|text| !text.starts_with("//! ")), [""; 0]);
}

#[test]
fn no_file_is_too_long() {
    assert_eq!(breaking(|text| text.lines().count() > MAX_LINES), [""; 0]);
}

#[test]
fn nothing_is_left_to_do() {
    let marks =
        [["to", "do!("].concat(), ["unimple", "mented!("].concat(), ["TO", "DO"].concat(), ["FIX", "ME"].concat()];
    assert_eq!(breaking(|text| marks.iter().any(|m| text.contains(m))), [""; 0]);
}

#[test]
fn no_path_of_a_machine_is_written_down() {
    let starts = ["home", "root", "work", "Users", "mnt", "tmp"].map(|d| format!("\"/{d}/"));
    assert_eq!(breaking(|text| starts.iter().any(|s| text.contains(s))), [""; 0]);
    let starts = ["home", "root", "work", "Users", "mnt", "tmp"].map(|d| format!(" /{d}/"));
    let texts = ["md", "yaml", "toml"].iter().flat_map(|e| files(&root(), e));
    let bad = texts.filter(|p| {
        let text = fs::read_to_string(p).unwrap();
        starts.iter().any(|s| text.contains(s))
    });
    assert_eq!(bad.collect::<Vec<_>>(), Vec::<PathBuf>::new());
}

#[test]
fn every_crate_says_what_it_must_never_know() {
    let crates = fs::read_dir(root().join("crates")).unwrap().flatten().map(|e| e.path());
    let silent = crates.chain([root().join("xtask")]).filter(|dir| {
        let text = fs::read_to_string(dir.join("README.md")).unwrap_or_default();
        !text.split_whitespace().collect::<Vec<_>>().join(" ").contains("must never know")
    });
    assert_eq!(silent.collect::<Vec<_>>(), Vec::<PathBuf>::new());
}

#[test]
fn heavy_dependencies_stay_where_they_are_hidden() {
    for manifest in files(&root().join("crates"), "toml").iter().filter(|p| p.ends_with("Cargo.toml")) {
        let name = manifest.parent().and_then(Path::file_name).unwrap().to_string_lossy();
        let text = fs::read_to_string(manifest).unwrap();
        for (dependency, allowed) in HIDDEN {
            let named = text.lines().any(|l| l.split(['.', '=', ' ']).next() == Some(dependency));
            assert!(!named || allowed.contains(&&*name), "{name} must not depend on {dependency}");
        }
    }
}

/// Sources whose numbers become results; tests in them may compare as they like.
const NUMERIC: &[&str] = &[
    "crates/oops-linalg/src/",
    "crates/oops-artifact/src/",
    "crates/oops-calibrate/src/",
    "crates/oops-score/src/",
    "crates/oops-reconstruct/src/",
    "crates/oops-distill/src/",
    "crates/oops-model/src/kernels/",
];

/// What NaN slips through: it is not the larger, the smaller, or below anything. `oops_core::finite` has what to use.
fn forgets_nan(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    // A number with a point, a constant of a float, or a measured time, which is none of a result.
    let of_floats = [".max(", ".min("].iter().any(|call| {
        code.match_indices(call).any(|(at, _)| {
            let argument = &code[at + call.len()..];
            let number = argument.split([')', ' ', ',']).next().unwrap_or_default().trim_start_matches('-');
            let literal = number.starts_with(|c: char| c.is_ascii_digit()) && number.contains(['.', 'e']);
            (literal && number != "1e-9") || number.starts_with("f64::") || number.starts_with("f32::")
        })
    });
    let functions = ["f64::max", "f64::min", "f32::max", "f32::min"].iter().any(|f| code.contains(&format!("{f})")));
    let folds =
        code.contains("fold(") && [".max(", ".min("].iter().any(|call| code.contains(call)) && !code.contains("finite");
    of_floats || functions || folds
}

#[test]
fn no_result_is_made_by_what_forgets_nan() {
    let mut bad = Vec::new();
    for (path, text) in sources() {
        let file = path.rsplit('/').next().unwrap_or_default();
        let is_test = file.contains("test") || path.contains("/tests/") || !NUMERIC.iter().any(|n| path.starts_with(n));
        let lines = text.lines().take_while(|l| !l.starts_with("#[cfg(test)]"));
        bad.extend(
            lines
                .enumerate()
                .filter(|(_, l)| !is_test && forgets_nan(l))
                .map(|(i, l)| format!("{path}:{}: {l}", i + 1)),
        );
    }
    assert_eq!(bad, [""; 0], "use oops_core::finite::{{at_least_zero, larger, smaller, largest}}");
}

#[test]
fn what_forgets_nan_is_told_from_what_does_not() {
    for line in [
        "form.max(0.0)",
        "let x = y.min(1.0);",
        "values.fold(0.0, f64::max)",
        "x.iter().fold(0.0_f32, |m, v| m.max(v.abs()))",
        "h.max(f64::MIN_POSITIVE)",
        "a.max(-1e3)",
    ] {
        assert!(forgets_nan(line), "{line}");
    }
    for line in [
        "n.max(1)",
        "rows.min(length - first)",
        "seconds.max(1e-9)",
        "at_least_zero(form) // form.max(0.0)",
        "larger(a, 0.0)",
    ] {
        assert!(!forgets_nan(line), "{line}");
    }
}
