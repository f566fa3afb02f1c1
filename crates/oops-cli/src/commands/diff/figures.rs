//! Figures side by side.

use std::collections::BTreeSet;

use oops_core::Result;
use oops_report::grid::Grid;
use serde_json::{Value, json};

use super::table;
use crate::recorded::{self, Figure, Shelf};

/// Figures of both, with differences and ratios where they were measured under one protocol.
pub(super) fn figures(a: &Shelf, b: &Shelf) -> Result<Grid> {
    let (old, new) = (recorded::figures(a)?, recorded::figures(b)?);
    let name = |f: &Figure| {
        let same = old.iter().chain(&new).filter(|o| o.made && o.instance == f.instance).map(|o| o.model.as_str());
        f.name(same.collect::<BTreeSet<_>>().len() == 1)
    };
    let mut names: Vec<String> = Vec::new();
    old.iter().chain(&new).map(name).for_each(|n| {
        if !names.contains(&n) {
            names.push(n);
        }
    });
    let find = |list: &'_ [Figure], wanted: &str| list.iter().position(|f| name(f) == wanted);
    let pairs = names.iter().map(|n| (n, find(&old, n).map(|i| &old[i]), find(&new, n).map(|i| &new[i])));
    // What is known of the dense model is worth a line only where it differs.
    let known = |x: Option<&Figure>, y: Option<&Figure>| {
        x.zip(y).is_some_and(|(x, y)| !x.made && x.value == y.value && x.protocol == y.protocol)
    };
    let rows = pairs.filter(|(_, x, y)| !known(*x, *y)).map(|(n, x, y)| {
        let value = |f: Option<&Figure>| f.map_or(Value::Null, |f| f.value.clone());
        let [difference, ratio, note] = compared(x, y);
        vec![json!(n), value(x), value(y), difference, ratio, note]
    });
    let mut grid = table(&["figure", "old", "new", "difference", "ratio", "note"], rows.collect());
    grid.only_changed();
    Ok(grid)
}

/// Difference, ratio and a note.
fn compared(x: Option<&Figure>, y: Option<&Figure>) -> [Value; 3] {
    let (Some(x), Some(y)) = (x, y) else { return [Value::Null, Value::Null, Value::Null] };
    if x.protocol != y.protocol {
        return [Value::Null, Value::Null, json!("protocols differ: not comparable")];
    }
    let difference = match (x.value.as_i64(), y.value.as_i64()) {
        (Some(x), Some(y)) => json!(y - x),
        _ => json!(y.value.as_f64().zip(x.value.as_f64()).map(|(y, x)| y - x)),
    };
    let ratio = y.value.as_f64().zip(x.value.as_f64()).filter(|(_, x)| *x != 0.0).map(|(y, x)| y / x);
    [difference, json!(ratio), Value::Null]
}
