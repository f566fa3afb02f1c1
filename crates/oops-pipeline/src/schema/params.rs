//! A stage's parameters as part of a larger schema: its definitions move to the top, under names of their own.

use oops_stage::AnyStage;
use serde_json::{Map, Value, json};

/// Definitions that the parameters of a stage refer to.
pub(super) fn definitions(stage: &dyn AnyStage) -> Vec<(String, Value)> {
    let schema = stage.schema();
    let defs = schema["$defs"].as_object().into_iter().flatten();
    defs.map(|(name, def)| (moved(stage, name), rebased(stage, def))).collect()
}

/// The schema of a stage's `with`.
pub(super) fn of(stage: &dyn AnyStage) -> Value {
    let mut schema = rebased(stage, &stage.schema());
    if let Value::Object(map) = &mut schema {
        ["$schema", "$defs", "title", "description"].iter().for_each(|key| drop(map.remove(*key)));
        let required = map.get("required").and_then(Value::as_array).is_some_and(|r| !r.is_empty());
        // YAML's `with:` without anything is null.
        map.insert("type".to_owned(), if required { json!("object") } else { json!(["object", "null"]) });
    }
    schema
}

fn moved(stage: &dyn AnyStage, name: &str) -> String {
    format!("{}.{name}", stage.name())
}

/// The same schema with references to where definitions are moved to. `format` (as in "double") is Rust's, not JSON's.
fn rebased(stage: &dyn AnyStage, schema: &Value) -> Value {
    let one = |(key, value): (&String, &Value)| match (key.as_str(), value.as_str()) {
        ("$ref", Some(target)) => {
            let name = target.rsplit('/').next().unwrap_or_default();
            Some((key.clone(), json!(format!("#/$defs/{}", moved(stage, name)))))
        }
        ("format", Some(_)) => None,
        ("description", Some(text)) => Some((key.clone(), json!(text.replace('\n', " ")))),
        _ => Some((key.clone(), rebased(stage, value))),
    };
    match schema {
        Value::Object(map) => Value::Object(map.iter().filter_map(one).collect::<Map<_, _>>()),
        Value::Array(list) => list.iter().map(|v| rebased(stage, v)).collect(),
        other => other.clone(),
    }
}
