//! The text of a row, wherever it is in it.

use oops_core::{Fault, Result};
use serde_json::Value;

/// A message of a chat.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Message {
    /// Who says it: `system`, `user`, `assistant` …
    pub(crate) role: String,
    /// What is said.
    pub(crate) content: String,
}

/// What a row has in place of a text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Null,
    Text(String),
    Chat(Vec<Message>),
}

/// The value of `field` in a JSON row: the key of that name, or else `b` inside `a` for `a.b`.
pub(super) fn of_json(row: &Value, field: &str) -> Result<Cell> {
    let found = row.get(field).or_else(|| field.split('.').try_fold(row, |value, key| value.get(key)));
    match found {
        Some(Value::Null) => Ok(Cell::Null),
        Some(Value::String(text)) => Ok(Cell::Text(text.clone())),
        Some(Value::Array(list)) => list.iter().map(message).collect::<Option<_>>().map(Cell::Chat).ok_or_else(|| {
            Fault::data(format!("the list under `{field}` is no chat"))
                .help("a chat is a list of messages with `role` and `content`, both strings")
        }),
        other => {
            let keys = row.as_object().map(|o| o.keys().cloned().collect::<Vec<_>>().join(", ")).unwrap_or_default();
            let what = other.map_or_else(String::new, |v| format!(", but {}", kind(v)));
            Err(Fault::data(format!("no text under `{field}`{what}"))
                .help(format!("name the key with `text_field` (`a.b` for `b` inside `a`); keys: {keys}")))
        }
    }
}

fn message(value: &Value) -> Option<Message> {
    let text = |key: &str| value.get(key)?.as_str().map(str::to_owned);
    Some(Message { role: text("role")?, content: text("content")? })
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Object(_) => "an object",
        Value::Number(_) => "a number",
        _ => "a truth value",
    }
}
