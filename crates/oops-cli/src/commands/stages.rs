//! `oops stages`: lists stages and their parameters, from their JSON Schemas.

use oops_stage::{AnyStage, Arity, Registry};
use serde_json::Value;

use crate::{args::Stages, open::Answer, terminal::out};

/// Runs the command.
pub(crate) fn stages(args: &Stages, registry: &Registry) -> Answer {
    if let Some(name) = &args.name {
        out(&describe(registry.get(name)?));
        return Ok(0);
    }
    let width = registry.iter().map(|s| s.name().len()).max().unwrap_or(0);
    registry.iter().for_each(|s| out(&format!("{:width$}  {}", s.name(), s.about())));
    Ok(0)
}

fn describe(stage: &dyn AnyStage) -> String {
    let mut lines = vec![format!("{} (version {})", stage.name(), stage.version()), format!("  {}", stage.about())];
    lines.push(format!("makes: {}", stage.output()));
    if stage.seeded() {
        lines.push("depends on defaults.seed".to_owned());
    }
    lines.push("in:".to_owned());
    lines.extend(stage.inputs().iter().map(|p| {
        let arity = match p.arity {
            Arity::One => "",
            Arity::Optional => ", may stay open",
            Arity::Many => ", a list",
        };
        format!("  {}: {}{arity}", p.name, p.kind)
    }));
    lines.push("with:".to_owned());
    lines.extend(params(&stage.schema()));
    lines.join("\n")
}

fn params(schema: &Value) -> Vec<String> {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = schema["properties"].as_object().into_iter().flatten();
    let lines = properties.flat_map(|(name, p)| {
        let default = match p.get("default") {
            _ if required.contains(&name.as_str()) => "required".to_owned(),
            Some(value) => format!("default {value}"),
            None => "optional".to_owned(),
        };
        let doc = p["description"].as_str().unwrap_or_default().replace('\n', "\n      ");
        [format!("  {name}: {} ({default})", type_of(p, schema)), format!("      {doc}")]
    });
    lines.filter(|l| !l.trim().is_empty()).collect()
}

/// The type of a property in words; enumerations as their values.
fn type_of(property: &Value, schema: &Value) -> String {
    if let Some(name) = property["$ref"].as_str().and_then(|r| r.rsplit('/').next()) {
        return type_of(&schema["$defs"][name], schema);
    }
    let alternatives = property.get("anyOf").or(property.get("oneOf")).or(property.get("allOf"));
    if let Some(list) = alternatives.and_then(Value::as_array) {
        let words: Vec<String> = list.iter().map(|p| type_of(p, schema)).filter(|w| w != "null").collect();
        return words.join(" | ");
    }
    let values = |v: &Value| v.as_array().map(|l| l.iter().map(Value::to_string).collect::<Vec<_>>().join(" | "));
    if let Some(words) = values(&property["enum"]) {
        return words.replace('"', "");
    }
    match &property["type"] {
        _ if !property["const"].is_null() => property["const"].as_str().unwrap_or_default().to_owned(),
        Value::String(word) => word.clone(),
        Value::Array(list) => {
            let words = list.iter().filter_map(Value::as_str).filter(|w| *w != "null");
            words.collect::<Vec<_>>().join(" | ")
        }
        _ => "value".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::registry;

    #[test]
    fn every_parameter_of_every_stage_is_documented() {
        for stage in registry().unwrap().iter() {
            assert!(!stage.about().is_empty() && stage.name().contains('.'), "{}", stage.name());
            let schema = stage.schema();
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                let doc = property["description"].as_str().unwrap_or_default();
                assert!(doc.len() > 10, "{}: {name} has no doc", stage.name());
                assert_ne!(type_of(property, &schema), "value", "{}: {name}", stage.name());
            }
            assert_eq!(schema["additionalProperties"], false, "{} must refuse unknown parameters", stage.name());
            assert!(describe(stage).contains("makes: "));
        }
    }
}
