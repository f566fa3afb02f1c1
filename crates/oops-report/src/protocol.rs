//! The protocol of a perplexity in words.

use serde_json::{Map, Value};

/// The protocol in one line; none if it is not that of a perplexity.
pub fn line(protocol: &Map<String, Value>) -> Option<String> {
    let get = |key: &str| protocol.get(key).map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned));
    Some(format!(
        "{}, {} windows of at most {} tokens ({} tokens, {} predicted), BOS {}, {}",
        get("text")?,
        get("windows")?,
        get("window_tokens")?,
        get("tokens")?,
        get("predicted_tokens")?,
        if protocol.get("bos") == Some(&Value::Bool(true)) { "on" } else { "off" },
        get("dtype")?,
    ))
}

/// The same with the first digits of the text's digest.
pub(crate) fn line_with_digest(protocol: &Map<String, Value>) -> Option<String> {
    let digest: String = protocol.get("text_digest").and_then(Value::as_str)?.chars().take(12).collect();
    Some(format!("{}, text {digest}", line(protocol)?))
}
