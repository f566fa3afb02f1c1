//! Values that YAML has and parameters have not: numbers that are none (`.nan`, `.inf`), tags, and keys that are
//! one key as text (`1` and `"1"`). In JSON, and so in action keys, a number that is none would be null, which means "not
//! given".

use std::collections::BTreeSet;

use oops_core::Fault;
use serde_json::Value as Json;
use serde_yaml::Value;

/// Integers up to here are exact as floating-point numbers: 2⁵³.
const EXACT: u64 = 1 << 53;

/// Everything in `value` that no parameter can hold, with the path to it.
pub(crate) fn unusable(value: &Value) -> Vec<(Vec<String>, Fault)> {
    let mut found = Vec::new();
    walk(value, &mut Vec::new(), &mut found);
    found
}

fn walk(value: &Value, path: &mut Vec<String>, found: &mut Vec<(Vec<String>, Fault)>) {
    let name = path.last().cloned().unwrap_or_default();
    match value {
        Value::Number(n) if n.as_f64().is_some_and(|v| !v.is_finite()) => {
            found.push((path.clone(), not_finite(&name, &n.to_string())));
        }
        Value::Tagged(tagged) => {
            let fault = Fault::config(format!("`{}` is a YAML tag, and no value has one", tagged.tag));
            found.push((path.clone(), fault.help("write a text that begins with `!` in quotes")));
        }
        Value::Sequence(list) => {
            for (i, item) in list.iter().enumerate() {
                path.push(i.to_string());
                walk(item, path, found);
                path.pop();
            }
        }
        Value::Mapping(map) => {
            let mut names = BTreeSet::new();
            for (key, item) in map {
                let key = key_text(key);
                path.push(key.clone());
                if names.insert(key) {
                    walk(item, path, found);
                } else {
                    let fault = Fault::config(format!(
                        "the key `{}` stands here twice, as text and as a number",
                        path[path.len() - 1]
                    ));
                    found.push((path.clone(), fault));
                }
                path.pop();
            }
        }
        _ => {}
    }
}

fn not_finite(name: &str, value: &str) -> Fault {
    let what = if name.is_empty() { String::new() } else { format!("`{name}` is ") };
    Fault::config(format!("{what}{value}, which is not a finite number"))
        .help("give a number (of at most 1.8e308), or leave the key out where it may be left out")
}

/// A key as the name that it is in JSON.
fn key_text(key: &Value) -> String {
    key.as_str().map_or_else(|| serde_yaml::to_string(key).unwrap_or_default().trim().to_owned(), str::to_owned)
}

/// An integer of `given` that is another number in `resolved`, because the parameter holds fewer digits: the path to it and
/// both.
pub(crate) fn rounded(given: &Json, resolved: &Json) -> Option<(Vec<String>, String, String)> {
    let below = |key: String, given: &Json, resolved: &Json| {
        let (path, old, new) = rounded(given, resolved)?;
        Some(([vec![key], path].concat(), old, new))
    };
    match (given, resolved) {
        (Json::Object(a), Json::Object(b)) => a.iter().find_map(|(k, v)| below(k.clone(), v, b.get(k)?)),
        (Json::Array(a), Json::Array(b)) => {
            a.iter().zip(b).enumerate().find_map(|(i, (v, w))| below(i.to_string(), v, w))
        }
        (Json::Number(a), Json::Number(b)) => {
            let size = a.as_u64().or_else(|| a.as_i64().map(i64::unsigned_abs))?;
            (size > EXACT && a != b).then(|| (Vec::new(), a.to_string(), format!("{}", b.as_f64().unwrap_or_default())))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_no_number_is_found_wherever_it_is() {
        let found = |text: &str| -> Vec<String> {
            let all = unusable(&serde_yaml::from_str(text).unwrap());
            all.into_iter().map(|(path, fault)| format!("{}: {}", path.join("."), fault.what())).collect()
        };
        assert_eq!(
            found("{ a: { b: .nan }, c: [1, -.inf], e: 1e308, f: .NaN x }"),
            ["a.b: `b` is .nan, which is not a finite number", "c.1: `1` is -.inf, which is not a finite number"]
        );
        assert_eq!(found("a: !tag 3"), ["a: `!tag` is a YAML tag, and no value has one"]);
        assert_eq!(found("{ 1: x, '1': y }"), ["1: the key `1` stands here twice, as text and as a number"]);
    }

    #[test]
    fn integers_that_a_parameter_rounds_are_found() {
        let big = 9_007_199_254_740_993_u64;
        assert_eq!(rounded(&json!({ "seed": big }), &json!({ "seed": big })), None);
        let found = rounded(&json!({ "x": [1, big] }), &json!({ "x": [1, big as f64] })).unwrap();
        assert_eq!(found, (vec!["x".to_owned(), "1".to_owned()], big.to_string(), "9007199254740992".to_owned()));
        assert_eq!(rounded(&json!({ "x": 3 }), &json!({ "x": 3.0 })), None);
    }
}
