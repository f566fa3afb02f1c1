//! Why a stage runs: the difference between the preimages of two action keys.

use std::{collections::BTreeMap, fmt};

use serde_json::Value;

/// Changes that a line has room for.
const SHOWN: usize = 4;

/// One field of the key that changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Path of the field, for example `params.damping`.
    pub field: String,
    /// Value of the last run; null if it had none.
    pub old: Value,
    /// Value now; null if there is none.
    pub new: Value,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word =
            |v: &Value| if v.is_null() { "unset".to_owned() } else { v.as_str().map_or(v.to_string(), str::to_owned) };
        match self.field.split_once('.') {
            Some(("params", name)) => write!(f, "param {name}: {} → {}", word(&self.old), word(&self.new)),
            Some(("inputs", port)) => write!(f, "input {port} changed"),
            Some(("sources", file)) => write!(f, "file {file} changed"),
            _ => write!(f, "{}: {} → {}", self.field, word(&self.old), word(&self.new)),
        }
    }
}

/// Why a stage runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// This instance never ran in this pipeline.
    New,
    /// The user asked for it.
    Forced,
    /// It ran with this key, but its result cannot be used any more.
    Damaged(String),
    /// It ran with this key, but its result is no longer in the store.
    Gone,
    /// Since it ran last, these fields changed.
    Changed(Vec<Change>),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.write_str("new"),
            Self::Forced => f.write_str("forced"),
            Self::Damaged(why) => f.write_str(why),
            Self::Gone => f.write_str("its result is no longer in the store"),
            Self::Changed(changes) => {
                let shown: Vec<String> = changes.iter().take(SHOWN).map(Change::to_string).collect();
                f.write_str(&shown.join("; "))?;
                match changes.len().saturating_sub(SHOWN) {
                    0 => Ok(()),
                    more => write!(f, "; and {more} more (status --explain)"),
                }
            }
        }
    }
}

/// What changed between two preimages, sorted by field. Parameters are only compared if the stage is the same.
pub fn changes(old: &str, new: &str) -> Vec<Change> {
    let parse = |text: &str| serde_json::from_str(text).unwrap_or(Value::Null);
    let (old, new): (Value, Value) = (parse(old), parse(new));
    if old.get("stage") != new.get("stage") {
        let stage = |v: &Value| v.get("stage").cloned().unwrap_or(Value::Null);
        return vec![Change { field: "stage".to_owned(), old: stage(&old), new: stage(&new) }];
    }
    let (old, new) = (flat(&old), flat(&new));
    let fields: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let value = |map: &BTreeMap<String, Value>, field: &String| map.get(field).cloned().unwrap_or(Value::Null);
    let pairs = fields.into_iter().map(|f| Change { field: f.clone(), old: value(&old, f), new: value(&new, f) });
    pairs.filter(|c| c.old != c.new).collect()
}

/// Leaves of nested objects by dotted path.
fn flat(value: &Value) -> BTreeMap<String, Value> {
    fn walk(path: &str, value: &Value, out: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(map) => map.iter().for_each(|(k, v)| {
                let path = if path.is_empty() { k.clone() } else { format!("{path}.{k}") };
                walk(&path, v, out);
            }),
            leaf => {
                out.insert(path.to_owned(), leaf.clone());
            }
        }
    }
    let mut out = BTreeMap::new();
    walk("", value, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_name_the_field_with_old_and_new_value() {
        let old = r#"{"stage":"s","params":{"damping":0.001,"mode":"a"},"inputs":{"model":["1"]}}"#;
        let new = r#"{"stage":"s","params":{"damping":0.01,"mode":"a","x":{"y":true}},"inputs":{"model":["2"]}}"#;
        let reason = Reason::Changed(changes(old, new));
        assert_eq!(reason.to_string(), "input model changed; param damping: 0.001 → 0.01; param x.y: unset → true");
        let many = (0..6).map(|k| Change { field: format!("params.p{k}"), old: Value::Null, new: Value::from(k) });
        let many = Reason::Changed(many.collect()).to_string();
        assert!(many.ends_with("param p3: unset → 3; and 2 more (status --explain)"), "{many}");
        let swapped = Reason::Changed(changes(old, r#"{"stage":"t","params":{}}"#));
        assert_eq!(swapped.to_string(), "stage: s → t");
    }
}
