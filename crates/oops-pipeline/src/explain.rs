//! serde's messages in words that a person who writes YAML knows.

use oops_core::{Fault, nearest};

/// A fault that says what serde's `message` says. `allowed` are the keys of the mapping that it is about.
pub(crate) fn explain(message: &str, allowed: &[&str]) -> Fault {
    let all = if allowed.is_empty() { "nothing".to_owned() } else { allowed.join(", ") };
    if let Some(key) = quoted(message, "unknown field `") {
        return Fault::config(format!("unknown key `{key}`")).help(format!("{}allowed: {all}", near(key, allowed)));
    }
    if let Some(key) = quoted(message, "missing field `") {
        return Fault::config(format!("the key `{key}` is missing")).help(format!("keys: {all}"));
    }
    if let Some(word) = quoted(message, "unknown variant `") {
        // unknown variant `x`, expected one of `a`, `b`
        let words: Vec<&str> = message.split('`').skip(3).step_by(2).collect();
        return Fault::config(format!("`{word}` is not a word that is known here")).help(format!(
            "{}allowed: {}",
            near(word, &words),
            words.join(", ")
        ));
    }
    let found = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
    match found.and_then(|m| m.split_once(", expected ")) {
        Some((found, expected)) => Fault::config(format!("expected {}, found {found}", type_name(expected))),
        None => Fault::config(message),
    }
}

/// The word between `prefix` and the next backtick, if the message begins so.
pub(crate) fn quoted<'m>(message: &'m str, prefix: &str) -> Option<&'m str> {
    message.strip_prefix(prefix)?.split('`').next()
}

fn near(word: &str, allowed: &[&str]) -> String {
    nearest(word, allowed.iter().copied()).map(|n| format!("did you mean `{n}`? ")).unwrap_or_default()
}

fn type_name(rust: &str) -> &str {
    match rust {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, at least 0",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a string" | "path string" => "text",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_what_is_allowed() {
        let shown = |message| explain(message, &["damping", "path"]).to_string();
        assert_eq!(
            shown("unknown field `dampin`, expected `damping` or `path`"),
            "unknown key `dampin`\n  help: did you mean `damping`? allowed: damping, path"
        );
        assert_eq!(shown("missing field `path`"), "the key `path` is missing\n  help: keys: damping, path");
        assert_eq!(
            shown("unknown variant `scor`, expected one of `auto`, `score`"),
            "`scor` is not a word that is known here\n  help: did you mean `score`? allowed: auto, score"
        );
        assert_eq!(shown("invalid type: string \"x\", expected f64"), "expected a number, found string \"x\"");
    }
}
