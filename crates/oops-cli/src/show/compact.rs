//! JSON that people can read: what fits on a line stays on one line.

use serde_json::Value;

/// Longest line.
const WIDTH: usize = 100;

/// A value as text; lists and objects that do not fit on a line have one entry per line.
pub(crate) fn compact(value: &Value) -> String {
    let mut out = String::new();
    write(value, 0, &mut out);
    out
}

fn write(value: &Value, indent: usize, out: &mut String) {
    let line = value.to_string();
    let column = out.len() - out.rfind('\n').map_or(0, |n| n + 1);
    let (open, close, entries): (char, char, Vec<(String, &Value)>) = match value {
        Value::Array(list) if column + line.len() > WIDTH => {
            ('[', ']', list.iter().map(|v| (String::new(), v)).collect())
        }
        Value::Object(map) if column + line.len() > WIDTH => {
            ('{', '}', map.iter().map(|(k, v)| (format!("{}: ", Value::from(k.as_str())), v)).collect())
        }
        _ => return out.push_str(&line),
    };
    out.push(open);
    for (i, (key, value)) in entries.iter().enumerate() {
        out.push_str(if i == 0 { "\n" } else { ",\n" });
        out.push_str(&" ".repeat(indent + 2));
        out.push_str(key);
        write(value, indent + 2, out);
    }
    out.push('\n');
    out.push_str(&" ".repeat(indent));
    out.push(close);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn long_things_are_broken_and_mean_the_same() {
        let value = json!({ "blocks": vec![json!({ "ffn": 1536, "kv_heads": 3 }); 6], "gram": true });
        let text = compact(&value);
        assert_eq!(text.lines().nth(2), Some(r#"    {"ffn":1536,"kv_heads":3},"#));
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        assert_eq!(compact(&json!([1, 2])), "[1,2]");
    }
}
