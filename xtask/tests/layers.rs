//! Arrows between crates only point down: `layers.json` against `cargo metadata`.

use std::{collections::BTreeMap, path::Path, process::Command};

use serde_json::Value;

type Edges = Vec<(String, String)>;

/// Dependencies between our own crates that are linked into them (tests may look further).
fn edges() -> Edges {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root)
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let name = |v: &Value| v["name"].as_str().unwrap().to_owned();
    let ours: Vec<String> = packages.iter().map(name).collect();
    let mut edges = Vec::new();
    for package in packages {
        let linked = package["dependencies"].as_array().unwrap().iter().filter(|d| d["kind"].is_null());
        edges.extend(linked.map(name).filter(|d| ours.contains(d)).map(|d| (name(package), d)));
        edges.push((name(package), String::new()));
    }
    edges
}

fn wrong(levels: &BTreeMap<String, u32>, edges: &Edges) -> Vec<String> {
    let level = |name: &String| levels.get(name).copied();
    edges
        .iter()
        .filter_map(|(user, used)| match (level(user), level(used)) {
            (None, _) => Some(format!("{user} has no level in layers.json")),
            (Some(_), None) if used.is_empty() => None,
            (Some(a), Some(b)) if a > b => None,
            _ => Some(format!("{user} must not depend on {used}")),
        })
        .collect()
}

#[test]
fn arrows_between_crates_point_down() {
    let levels: BTreeMap<String, u32> = serde_json::from_str(include_str!("../layers.json")).unwrap();
    let edges = edges();
    assert!(edges.len() > levels.len());
    assert_eq!(wrong(&levels, &edges), [""; 0]);
    let unknown = levels.keys().filter(|name| !edges.iter().any(|(user, _)| user == *name));
    assert_eq!(unknown.collect::<Vec<_>>(), Vec::<&String>::new(), "in layers.json but not in the workspace");
}

#[test]
fn the_rule_catches_siblings_and_upward_arrows() {
    let levels = BTreeMap::from([("a".to_owned(), 0), ("b".to_owned(), 1), ("c".to_owned(), 1)]);
    let edge = |user: &str, used: &str| vec![(user.to_owned(), used.to_owned())];
    assert!(wrong(&levels, &edge("b", "a")).is_empty());
    assert!(!wrong(&levels, &edge("b", "c")).is_empty());
    assert!(!wrong(&levels, &edge("a", "b")).is_empty());
    assert!(!wrong(&levels, &edge("new", "a")).is_empty());
}
