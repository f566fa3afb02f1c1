//! Which parameters differ, and which stages, and why.

use std::collections::{BTreeMap, BTreeSet};

use oops_engine::changes;
use oops_report::grid::Grid;
use serde_json::{Value, json};

use super::table;
use crate::{
    commands::table::parameters as all_parameters,
    recorded::{Entry, Shelf},
};

/// Parameters that differ, with both values.
pub(super) fn parameters(a: &Shelf, b: &Shelf) -> Grid {
    let (old, new) = (all_parameters(a), all_parameters(b));
    let find = |list: &[(String, Value)], name: &str| list.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
    let mut names: Vec<&String> = old.iter().map(|(name, _)| name).collect();
    names.extend(new.iter().map(|(name, _)| name).filter(|name| find(&old, name).is_none()));
    let rows = names.into_iter().filter_map(|name| {
        let (x, y) = (find(&old, name), find(&new, name));
        (x != y).then(|| vec![json!(name), x.unwrap_or_default(), y.unwrap_or_default()])
    });
    table(&["parameter", "old", "new"], rows.collect())
}

/// The kinds of CPUs that two results were made on, where they are not the same: the last bits of sums differ.
fn kinds(x: &Entry, y: &Entry) -> Option<String> {
    let (old, new) = (x.record.provenance.vectors.as_ref()?, y.record.provenance.vectors.as_ref()?);
    (old != new).then(|| format!("made on another kind of CPU: {old} → {new}"))
}

/// Stages that differ, with the reason: what of their keys changed.
pub(super) fn stages(a: &Shelf, b: &Shelf) -> Grid {
    let by_name = |s: &Shelf| -> BTreeMap<String, usize> {
        s.entries.iter().enumerate().map(|(i, e)| (e.name.clone(), i)).collect()
    };
    let (old, new) = (by_name(a), by_name(b));
    let order = b.entries.iter().chain(&a.entries).map(|e| e.name.as_str());
    let missing = b.missing.iter().chain(&a.missing).map(String::as_str);
    let mut seen = BTreeSet::new();
    let mut rows = Vec::new();
    for name in order.chain(missing).filter(|name| seen.insert(*name)) {
        let (x, y) = (old.get(name).map(|&i| &a.entries[i]), new.get(name).map(|&i| &b.entries[i]));
        let gone = |s: &Shelf| s.missing.iter().any(|m| m == name);
        let (result, why) = match (x, y) {
            (Some(x), Some(y)) if x.key == y.key => continue,
            (Some(x), Some(y)) => {
                let why = changes(&x.record.preimage, &y.record.preimage);
                let same = x.artifact.digest() == y.artifact.digest();
                let why = why.iter().map(ToString::to_string).chain(kinds(x, y)).collect::<Vec<_>>().join("; ");
                (if same { "the same bytes" } else { "differs" }, why)
            }
            (None, _) if gone(a) => ("not in the store", "of the old run".to_owned()),
            (_, None) if gone(b) => ("not in the store", "of the new run".to_owned()),
            (Some(x), None) => ("only old", x.made.stage.clone()),
            (None, Some(y)) => ("only new", y.made.stage.clone()),
            (None, None) => continue,
        };
        rows.push(vec![json!(name), json!(result), json!(why)]);
    }
    table(&["stage", "result", "because"], rows)
}
