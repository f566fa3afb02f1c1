//! `oops stages`: lists stages; says all about one, from the JSON Schema of its parameters and its file.

use oops_stage::{AnyStage, Arity, Registry};
use serde_json::{Map, Value, json};

use crate::{args::Stages, docs, open::Answer, terminal::out};

/// Runs the command.
pub(crate) fn stages(args: &Stages, registry: &Registry) -> Answer {
    match &args.name {
        Some(name) if args.json => out(&object(registry.get(name)?, true).to_string()),
        Some(name) => out(&describe(registry.get(name)?)),
        None if args.json => out(&Value::Array(registry.iter().map(|s| object(s, false)).collect()).to_string()),
        None => {
            let width = registry.iter().map(|s| s.name().len()).max().unwrap_or(0);
            registry.iter().for_each(|s| out(&format!("{:width$}  {}", s.name(), s.about())));
        }
    }
    Ok(0)
}

fn arity(arity: Arity) -> &'static str {
    match arity {
        Arity::One => "one",
        Arity::Optional => "none or one",
        Arity::Many => "one or more",
    }
}

/// A stage as JSON; `whole` with the JSON Schema of its parameters.
fn object(stage: &dyn AnyStage, whole: bool) -> Value {
    let port = |p: &oops_stage::Port| json!({ "name": p.name, "kind": p.kind, "takes": arity(p.arity) });
    let mut object = json!({
        "name": stage.name(),
        "version": stage.version(),
        "about": stage.about(),
        "makes": stage.output(),
        "seeded": stage.seeded(),
        "on_device": stage.on_device(),
        "inputs": stage.inputs().iter().map(port).collect::<Vec<_>>(),
        "parameters": params(stage).iter().map(Param::json).collect::<Vec<_>>(),
    });
    if whole {
        object["doc"] = json!(docs::doc(stage.name()));
        object["schema"] = stage.schema();
    }
    object
}

fn describe(stage: &dyn AnyStage) -> String {
    let mut lines = vec![format!("{} (version {}): {}", stage.name(), stage.version(), stage.about()), String::new()];
    // The first line of many is the name alone.
    let doc = docs::doc(stage.name()).unwrap_or_default();
    let doc = doc.strip_prefix(&format!("`{}`\n", stage.name())).unwrap_or(&doc).trim();
    lines.extend(doc.lines().map(|l| format!("  {l}").trim_end().to_owned()));
    lines.push(String::new());
    lines.push(format!("makes: {}", stage.output()));
    if stage.seeded() {
        lines.push("depends on defaults.seed".to_owned());
    }
    if stage.on_device() {
        lines.push("computes on defaults.device".to_owned());
    }
    let ports = stage.inputs().iter().map(|p| match p.arity {
        Arity::One => format!("  {}: {}", p.name, p.kind),
        other => format!("  {}: {} ({})", p.name, p.kind, arity(other)),
    });
    let ports: Vec<String> = ports.collect();
    lines.push(if ports.is_empty() { "in: nothing".to_owned() } else { format!("in:\n{}", ports.join("\n")) });
    let params: Vec<String> = params(stage).iter().map(Param::text).collect();
    lines.push(if params.is_empty() { "with: nothing".to_owned() } else { format!("with:\n{}", params.join("\n")) });
    lines.join("\n")
}

/// A parameter.
struct Param {
    name: String,
    /// Type in words; enumerations as their values.
    takes: String,
    /// The default; none if the parameter is required or may stay open.
    default: Option<Value>,
    required: bool,
    doc: String,
    /// Whether it changes the result, and so is part of the action's key.
    keyed: bool,
    /// What each of its words means, where that is said.
    words: Vec<(String, String)>,
}

impl Param {
    fn text(&self) -> String {
        let default = match &self.default {
            _ if self.required => "required".to_owned(),
            Some(value) if !value.is_null() => {
                format!("default {}", value.as_str().map_or(value.to_string(), str::to_owned))
            }
            _ => "optional".to_owned(),
        };
        let words =
            self.words.iter().map(|(word, doc)| format!("\n      - {word}: {doc}")).collect::<Vec<_>>().concat();
        let unkeyed = if self.keyed { "" } else { "\n      Changes no result: another value reruns nothing." };
        format!(
            "  {}: {} ({default})\n      {}{words}{unkeyed}",
            self.name,
            self.takes,
            self.doc.replace('\n', "\n      ")
        )
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name, "takes": self.takes, "required": self.required, "default": self.default, "doc": self.doc,
            "keyed": self.keyed,
        })
    }
}

fn params(stage: &dyn AnyStage) -> Vec<Param> {
    let schema = stage.schema();
    let mut out = Vec::new();
    collect("", &schema, &schema, &mut out);
    for param in &mut out {
        let whole = param.name.split('.').next().unwrap_or_default();
        let one = Value::Object(Map::from_iter([(whole.to_owned(), Value::Null)]));
        param.keyed = stage.keyed(&one).get(whole).is_some();
    }
    out
}

/// The parameters of an object; those of an object in it under dotted names.
fn collect(path: &str, object: &Value, schema: &Value, out: &mut Vec<Param>) {
    let required: Vec<&str> = object["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, p) in object["properties"].as_object().into_iter().flatten() {
        let inner = p["$ref"].as_str().and_then(|r| r.rsplit('/').next()).map_or(p, |def| &schema["$defs"][def]);
        if inner["properties"].is_object() {
            collect(&format!("{path}{name}."), inner, schema, out);
            continue;
        }
        out.push(Param {
            name: format!("{path}{name}"),
            takes: type_of(p, schema),
            default: p.get("default").cloned(),
            required: required.contains(&name.as_str()),
            doc: p["description"].as_str().unwrap_or_default().to_owned(),
            keyed: true,
            words: words_of(p, schema),
        });
    }
}

/// The words of an enumeration that have a line of their own.
fn words_of(property: &Value, schema: &Value) -> Vec<(String, String)> {
    if let Some(name) = property["$ref"].as_str().and_then(|r| r.rsplit('/').next()) {
        return words_of(&schema["$defs"][name], schema);
    }
    let alternatives = ["anyOf", "oneOf", "allOf"].iter().filter_map(|k| property[*k].as_array()).flatten();
    let word = |v: &Value| Some((v["const"].as_str()?.to_owned(), v["description"].as_str()?.replace('\n', " ")));
    alternatives.flat_map(|v| word(v).map_or_else(|| words_of(v, schema), |w| vec![w])).collect()
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
    use crate::sources::registry;

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
