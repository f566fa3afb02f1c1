//! Typed access to the keys of a JSON object, with faults that name the key and what it holds.

use std::{fs, io::Read, path::Path};

use oops_core::{Fault, Result, bail_if};
use serde_json::{Map, Value};

/// Largest JSON file that is read: a bound on memory, far above any configuration or index.
const MAX_BYTES: u64 = 256 << 20;

/// Reads a text file of at most 256 MiB.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    let read = || -> std::io::Result<String> {
        let mut text = String::new();
        fs::File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
        Ok(text)
    };
    let text = read().map_err(|e| Fault::reading(path, &e))?;
    bail_if(text.len() as u64 > MAX_BYTES, || Fault::data("the file is longer than 256 MiB").at(path.display()))?;
    Ok(text)
}

/// Reads a JSON file that holds an object.
pub(crate) fn read_object(path: &Path) -> Result<Map<String, Value>> {
    let parsed = serde_json::from_str(&read_text(path)?);
    parsed.map_err(|e| Fault::data(format!("not a JSON object: {e}")).at(path.display()))
}

/// An object whose faults name its keys.
#[derive(Clone, Copy)]
pub(crate) struct Keys<'a>(pub(crate) &'a Map<String, Value>);

impl<'a> Keys<'a> {
    /// The value of `key`; `null` counts as absent.
    pub(crate) fn get(self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|v| !v.is_null())
    }

    /// A whole number between the bounds, if there.
    pub(crate) fn count(self, key: &str, range: std::ops::RangeInclusive<u64>) -> Result<Option<usize>> {
        let wanted = || format!("a whole number from {} to {}", range.start(), range.end());
        let Some(value) = self.get(key) else { return Ok(None) };
        let n = value.as_u64().filter(|n| range.contains(n)).ok_or_else(|| wrong(key, value, &wanted()))?;
        Ok(Some(n as usize))
    }

    /// A whole number between the bounds.
    pub(crate) fn need_count(self, key: &str, range: std::ops::RangeInclusive<u64>) -> Result<usize> {
        self.count(key, range)?.ok_or_else(|| missing(key))
    }

    /// A finite number above 0, if there.
    pub(crate) fn positive(self, key: &str) -> Result<Option<f64>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let x = value.as_f64().filter(|x| *x > 0.0 && x.is_finite());
        x.map(Some).ok_or_else(|| wrong(key, value, "a positive number"))
    }

    /// A truth value; `default` if absent.
    pub(crate) fn flag(self, key: &str, default: bool) -> Result<bool> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value.as_bool().ok_or_else(|| wrong(key, value, "true or false"))
    }

    /// A text, if there.
    pub(crate) fn text(self, key: &str) -> Result<Option<&'a str>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| wrong(key, value, "a text"))
    }

    /// Token ids, given as one number or a list; empty if absent.
    pub(crate) fn token_ids(self, key: &str) -> Result<Vec<u32>> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        let id = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
        list.iter().map(|v| id(v).ok_or_else(|| wrong(key, value, "a token id or a list of them"))).collect()
    }
}

/// A key that must be there.
pub(crate) fn missing(key: &str) -> Fault {
    Fault::data(format!("`{key}` is missing"))
}

/// A key whose value is not what it must be.
pub(crate) fn wrong(key: &str, value: &Value, wanted: &str) -> Fault {
    let mut shown = value.to_string();
    if let Some((cut, _)) = shown.char_indices().nth(60) {
        shown.truncate(cut);
        shown.push('…');
    }
    Fault::data(format!("`{key}` is {shown}")).help(format!("it must be {wanted}"))
}
