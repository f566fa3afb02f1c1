//! The protocol of a perplexity in words.

use oops_core::Digest;
use serde_json::{Map, Value};

/// Key under which a protocol that is shown has the name of its text.
const NAME: &str = "text";

/// The protocol with the name of its text, which results never hold.
pub fn named(protocol: &Map<String, Value>, name: &str) -> Map<String, Value> {
    let mut named = protocol.clone();
    if !name.is_empty() {
        named.insert(NAME.to_owned(), Value::from(name));
    }
    named
}

/// Digests of the texts of a protocol; none if it has no text.
pub fn texts(protocol: &Map<String, Value>) -> Vec<Digest> {
    let list = protocol.get("texts").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(|d| d.as_str()?.parse().ok()).collect()
}

/// The protocol in one line; none if it is not that of a perplexity or its text has no name ([`named`]).
pub fn line(protocol: &Map<String, Value>) -> Option<String> {
    let get = |key: &str| protocol.get(key).map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned));
    Some(format!(
        "{}{}, {} windows of at most {} tokens ({} tokens, {} predicted), BOS {}, {}",
        get(NAME)?,
        sequences(protocol),
        get("windows")?,
        get("window_tokens")?,
        get("tokens")?,
        get("predicted_tokens")?,
        if protocol.get("bos") == Some(&Value::Bool(true)) { "on" } else { "off" },
        get("dtype")?,
    ))
}

/// How sequences were made, in brackets.
fn sequences(protocol: &Map<String, Value>) -> String {
    let Some(packing) = protocol.get("packing").and_then(Value::as_str) else { return String::new() };
    let seed = protocol.get("seed").map(|s| format!(" with seed {s}")).unwrap_or_default();
    let separator = protocol.get("separator").map(|s| format!(", joined by {s}")).unwrap_or_default();
    let eos = if protocol.get("eos") == Some(&Value::Bool(true)) { ", EOS after each document" } else { "" };
    format!(" ({packing}{seed}{separator}{eos})")
}

/// The same with the first digits of the text's digest.
pub(crate) fn line_with_digest(protocol: &Map<String, Value>) -> Option<String> {
    let digest: String = protocol.get("text_digest").and_then(Value::as_str)?.chars().take(12).collect();
    Some(format!("{}, text {digest}", line(protocol)?))
}
