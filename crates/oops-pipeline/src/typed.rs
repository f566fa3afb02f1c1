//! The value of a `--set` flag as it is typed. One rule: a value is read as YAML; where YAML would drop a part of it (a
//! comment, a tag) or it is no YAML, and where the parameter takes text and not what YAML makes of it, it is the text as it
//! is typed.

use oops_core::{Fault, Result};
use serde_json::Value as Json;
use serde_yaml::Value;

/// A typed value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Typed {
    /// What was typed.
    pub(crate) text: String,
    /// Why it is no YAML; then the value is the text.
    pub(crate) broken: Option<String>,
}

/// Reads a value.
pub(crate) fn read(text: &str) -> (Value, Typed) {
    let typed = |broken| Typed { text: text.to_owned(), broken };
    match serde_yaml::from_str::<Value>(text) {
        Ok(value) if is_whole(text.trim(), &value) => (value, typed(None)),
        Ok(_) => (Value::from(text), typed(None)),
        Err(e) => (Value::from(text), typed(Some(e.to_string()))),
    }
}

/// Whether nothing of the text is lost in the value.
fn is_whole(text: &str, value: &Value) -> bool {
    let wrapped = |open: char, close: char| text.len() > 1 && text.starts_with(open) && text.ends_with(close);
    match value {
        Value::Null => matches!(text, "" | "~" | "null" | "Null" | "NULL"),
        Value::String(s) => s == text || wrapped('"', '"') || wrapped('\'', '\''),
        Value::Bool(_) | Value::Number(_) => !text.contains(char::is_whitespace),
        Value::Sequence(_) | Value::Mapping(_) => {
            let block = !text.starts_with(['[', '{']);
            wrapped('[', ']') || wrapped('{', '}') || (block && !text.contains(" #"))
        }
        Value::Tagged(_) => false,
    }
}

impl Typed {
    /// The value for a parameter with this schema, if it is another than YAML makes of the text.
    pub(crate) fn as_text(&self, schema: &Json, parameter: &str, value: &Json) -> Result<Option<Json>> {
        let takes = |kind: &str| {
            let own = schema.pointer(&format!("/properties/{parameter}"));
            own.is_none_or(|own| takes(schema, own, kind, 0))
        };
        match &self.broken {
            Some(why) if !takes("string") => Err(Fault::config(format!("`{}` is not a YAML value: {why}", self.text))),
            None if !takes(kind(value)) && takes("string") => Ok(Some(Json::from(self.text.trim()))),
            _ => Ok(None),
        }
    }
}

/// Name of a value's type in a schema.
fn kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Number(n) if n.is_f64() => "number",
        Json::Number(_) => "integer",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    }
}

/// Whether a schema takes values of a type; one that says nothing of types takes all.
fn takes(root: &Json, schema: &Json, wanted: &str, depth: usize) -> bool {
    // References of schemas that our own types give do not go in circles without a list or object between.
    if depth > 8 {
        return true;
    }
    let fits = |name: &str| name == wanted || (name == "number" && wanted == "integer");
    if let Some(target) = schema.get("$ref").and_then(Json::as_str) {
        let target = target.strip_prefix('#').and_then(|path| root.pointer(path));
        return target.is_none_or(|t| takes(root, t, wanted, depth + 1));
    }
    if let Some(choices) = ["anyOf", "oneOf"].iter().find_map(|k| schema.get(k)?.as_array()) {
        return choices.iter().any(|c| takes(root, c, wanted, depth + 1));
    }
    match (schema.get("type"), schema.get("enum"), schema.get("const")) {
        (Some(Json::String(name)), ..) => fits(name),
        (Some(Json::Array(names)), ..) => names.iter().filter_map(Json::as_str).any(fits),
        (_, Some(Json::Array(values)), _) => values.iter().any(|v| fits(kind(v))),
        (_, _, Some(value)) => fits(kind(value)),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_yaml_would_drop_is_kept() {
        for text in
            ["x#y", "x #y", "#1.txt", "[draft] x.txt", "&a b", "!x y", "*.txt", "0.3 # note", "a\tb", "'it", "%x"]
        {
            assert_eq!(read(text).0, Value::from(text), "{text}");
        }
        let yaml =
            ["null", "~", "0.3", "true", "[a, 'b #c']", "{ a: 1 }", "a: b", "\"x #y\"", "'it''s'", "", "plain text"];
        for text in yaml {
            assert_eq!(read(text).0, serde_yaml::from_str::<Value>(text).unwrap(), "{text}");
        }
    }

    #[test]
    fn a_parameter_that_takes_text_gets_it_as_typed() {
        let schema = json!({
            "properties": {
                "path": { "type": "string" },
                "paths": { "anyOf": [{ "$ref": "#/$defs/One" }, { "type": "array" }] },
                "rate": { "type": ["number", "null"] },
            },
            "$defs": { "One": { "type": "string" } },
        });
        let given = |parameter: &str, text: &str| {
            let (value, typed) = read(text);
            typed.as_text(&schema, parameter, &serde_json::to_value(value).unwrap())
        };
        for (text, taken) in [("2024", "2024"), ("1e5", "1e5"), ("a: b", "a: b"), ("[x]", "[x]"), ("yes: ", "yes:")] {
            assert_eq!(given("path", text).unwrap(), Some(json!(taken)), "{text}");
        }
        assert_eq!(given("path", "a b#c").unwrap(), None, "already the text");
        assert_eq!(given("paths", "[x]").unwrap(), None, "a list is a list");
        assert_eq!(given("paths", "7").unwrap(), Some(json!("7")));
        assert_eq!(given("rate", "7").unwrap(), None);
        assert!(given("rate", "[7").unwrap_err().what().contains("`[7` is not a YAML value"));
    }
}
