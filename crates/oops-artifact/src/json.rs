//! JSON records.

use std::{fs, path::Path};

use oops_core::{Fault, Result};
use serde::{Serialize, de::DeserializeOwned};

/// Reads a JSON file into a type.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).map_err(|e| Fault::reading(path, &e))?;
    serde_json::from_str(&text).map_err(|e| Fault::data(format!("unexpected JSON: {e}")).at(path.display()))
}

/// Writes a value as pretty JSON with a final newline.
pub fn write<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|e| Fault::internal(format!("JSON: {e}")))?;
    text.push(b'\n');
    fs::write(path, text).map_err(|e| Fault::writing(path, &e))
}
