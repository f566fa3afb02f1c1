//! Reads documents from text files: `.txt` is one document, `.jsonl` and `.parquet` one per row.

use std::{fs, path::Path};

use oops_artifact::Table;
use oops_core::{Fault, Result, bail_if};
use serde_json::Value;

/// The documents of a file; `field` names the JSON key or Parquet column that holds the text.
pub(crate) fn documents(path: &Path, name: &str, field: &str) -> Result<Vec<String>> {
    let docs = match name.rsplit('.').next() {
        Some("parquet") => Table::read(path)?.strings(field)?,
        Some("jsonl") => json_lines(path, field)?,
        Some("txt") => vec![utf8(path)?],
        _ => {
            return Err(Fault::config(format!("`{name}` has an unknown ending"))
                .at(path.display())
                .help("use .txt (one document), .jsonl or .parquet (one document per row)"));
        }
    };
    bail_if(docs.iter().all(String::is_empty), || Fault::data("the file holds no text").at(path.display()))?;
    Ok(docs)
}

fn utf8(path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(|e| Fault::reading(path, &e))?;
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        Fault::data(format!("not UTF-8 at byte {at}")).at(path.display()).help("convert the file to UTF-8")
    })
}

fn json_lines(path: &Path, field: &str) -> Result<Vec<String>> {
    let text = utf8(path)?;
    let lines = text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty());
    lines
        .map(|(i, line)| {
            let fault = |what: String| Fault::data(what).at(format!("{}:{}", path.display(), i + 1));
            let row: Value = serde_json::from_str(line).map_err(|e| fault(format!("not JSON: {e}")))?;
            let text = row.get(field).and_then(Value::as_str);
            text.map(str::to_owned)
                .ok_or_else(|| fault(format!("no text under `{field}`")).help("name the key with `text_field`"))
        })
        .collect()
}
