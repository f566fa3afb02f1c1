//! Overrides of the command line: `name.use=…`, `name.in.port=…`, `name.with.x.y=…`, `defaults.seed=…`, `defaults.device=…`.

use oops_core::{Fault, Result, bail_if, nearest};
use serde_yaml::{Mapping, Value};

use crate::{
    raw::DEFAULT_KEYS,
    typed::{self, Typed},
    values::unusable,
};

const FORMS: &str = "allowed: STAGE.with.PARAM=VALUE, STAGE.use=NAME, STAGE.in.PORT=NAME (or [NAME, NAME]), defaults.seed=NUMBER, defaults.device=NAME";
const SWEEP_FORMS: &str = "allowed: STAGE.with.PARAM: VALUE, STAGE.use: NAME, STAGE.in.PORT: NAME (or [NAME, NAME]), defaults.seed: NUMBER, defaults.device: NAME";

/// One parsed override: the path in the document and the value.
#[derive(Debug, PartialEq)]
pub(crate) struct Override {
    pub(crate) path: Vec<String>,
    pub(crate) value: Value,
    /// How a flag was typed.
    pub(crate) typed: Option<Typed>,
}

impl Override {
    /// Parses `path=value`, where `value` is YAML, or text as [`crate::typed`] says.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let fault = |what: String| Fault::config(what).help(FORMS);
        let (path, value) = text.split_once('=').ok_or_else(|| fault(format!("`{text}` has no `=`")))?;
        let path = document_path(path, FORMS)?;
        let (value, typed) = typed::read(value);
        // Only a parameter of a stage may take text; those inside of one are looked up nowhere.
        let broken = typed.broken.as_ref().filter(|_| path.len() != 4 || path[2] != "with");
        if let Some(why) = broken {
            return Err(fault(format!("`{}` is not a YAML value: {why}", typed.text)));
        }
        if let Some((inner, found)) = unusable(&value).into_iter().next() {
            return Err(if inner.is_empty() { found.at(path.join(".")) } else { found });
        }
        Ok(Self { path, value, typed: Some(typed) })
    }

    /// An entry of a `set:` mapping.
    pub(crate) fn entry(key: &str, value: &Value) -> Result<Self> {
        Ok(Self { path: document_path(key, SWEEP_FORMS)?, value: value.clone(), typed: None })
    }

    /// Puts the value into the document; null takes out what the document says there, so that the default holds.
    pub(crate) fn apply(&self, document: &mut Value) -> Result<()> {
        let (last, parents) = self.path.split_last().ok_or_else(|| Fault::internal("empty override"))?;
        if let ([_, name], "use", true) = (parents, last.as_str(), self.value.is_null()) {
            return Err(Fault::config(format!("`{name}` needs a `use`")).help("null drops parameters and inputs only"));
        }
        let mut here = document;
        for (depth, key) in parents.iter().enumerate() {
            let map = as_mapping(here, key)?;
            let missing_stage = depth == 1 && parents[0] == "stages" && !map.contains_key(key.as_str());
            bail_if(missing_stage, || no_instance(key, map))?;
            here = map.entry(Value::from(key.as_str())).or_insert_with(|| Value::Mapping(Mapping::new()));
            if here.is_null() {
                *here = Value::Mapping(Mapping::new());
            }
        }
        let map = as_mapping(here, last)?;
        if !self.value.is_null() {
            map.insert(Value::from(last.as_str()), self.value.clone());
            return Ok(());
        }
        map.remove(last.as_str()).map(|_| ()).ok_or_else(|| nothing_to_drop(&self.path, map))
    }

    /// Name of the stage instance that it is about; none for the defaults.
    pub(crate) fn instance(&self) -> Option<&str> {
        (self.path[0] == "stages").then(|| self.path[1].as_str())
    }
}

/// Where in the document a key such as `plan.with.gamma` points.
fn document_path(key: &str, forms: &str) -> Result<Vec<String>> {
    let parts: Vec<&str> = key.split('.').collect();
    let path: Vec<&str> = match parts[..] {
        ["defaults", key] if DEFAULT_KEYS.contains(&key) => parts,
        [name, "use"] => vec!["stages", name, "use"],
        [name, "in", port] => vec!["stages", name, "in", port],
        [name, "with", ref params @ ..] if !params.is_empty() => [&["stages", name, "with"], params].concat(),
        _ => return Err(wrong_form(key, &parts, forms)),
    };
    Ok(path.into_iter().map(str::to_owned).collect())
}

fn nothing_to_drop(path: &[String], map: &Mapping) -> Fault {
    let (last, parents) = path.split_last().map_or(("", path), |(l, p)| (l.as_str(), p));
    let names: Vec<&str> = map.keys().filter_map(Value::as_str).collect();
    let near = nearest(last, names.iter().copied()).map(|n| format!("did you mean `{n}`? ")).unwrap_or_default();
    let there = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
    Fault::config(format!("null drops what the pipeline gives, but it gives no `{last}`"))
        .help(format!("{near}given in {}: {there}", parents.join(".")))
}

fn as_mapping<'v>(value: &'v mut Value, key: &str) -> Result<&'v mut Mapping> {
    value.as_mapping_mut().ok_or_else(|| Fault::config(format!("there is nothing that could hold `{key}`")).help(FORMS))
}

fn no_instance(name: &str, stages: &Mapping) -> Fault {
    let names: Vec<&str> = stages.keys().filter_map(Value::as_str).collect();
    let near = nearest(name, names.iter().copied()).map(|n| format!("did you mean `{n}`? ")).unwrap_or_default();
    Fault::config(format!("no stage of the pipeline is called `{name}`"))
        .help(format!("{near}stages: {}", names.join(", ")))
}

fn wrong_form(path: &str, parts: &[&str], forms: &str) -> Fault {
    let hint = match parts {
        [name, param] => format!("did you mean `{name}.with.{param}`? "),
        _ => String::new(),
    };
    Fault::config(format!("`{path}` cannot be set")).help(format!("{hint}{forms}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(document: &str, text: &str) -> Result<Value> {
        let mut value = serde_yaml::from_str(document).unwrap();
        Override::parse(text)?.apply(&mut value)?;
        Ok(value)
    }

    #[test]
    fn values_are_yaml_and_land_where_they_belong() {
        let document = "stages: { plan: { use: a } }";
        let expect = |text, result: &str| {
            let expected: Value = serde_yaml::from_str(result).unwrap();
            assert_eq!(set(document, text).unwrap(), expected);
        };
        expect("plan.with.remove=0.5", "stages: { plan: { use: a, with: { remove: 0.5 } } }");
        expect("plan.with.x.y=[1, two]", "stages: { plan: { use: a, with: { x: { y: [1, two] } } } }");
        expect("plan.use=b", "stages: { plan: { use: b } }");
        expect("plan.in.models=[p, q]", "stages: { plan: { use: a, in: { models: [p, q] } } }");
        expect("defaults.device=cuda", "{ stages: { plan: { use: a } }, defaults: { device: cuda } }");
        expect("defaults.seed=3", "{ stages: { plan: { use: a } }, defaults: { seed: 3 } }");
    }

    #[test]
    fn null_drops_what_is_there() {
        let document = "stages: { plan: { use: a, in: { x: y }, with: { remove: 1, deep: { er: 2 } } } }";
        let dropped = |text| serde_yaml::to_string(&set(document, text).unwrap()["stages"]["plan"]).unwrap();
        assert_eq!(dropped("plan.in.x=null").trim(), "use: a\nin: {}\nwith:\n  remove: 1\n  deep:\n    er: 2");
        assert!(!dropped("plan.with.deep.er=null").contains("er:"));
        let fails = |text: &str| set(document, text).unwrap_err().to_string();
        assert!(fails("plan.with.remov=null").contains("did you mean `remove`"));
        assert!(fails("plan.use=null").contains("`plan` needs a `use`"));
    }

    #[test]
    fn wrong_forms_are_explained() {
        let fails = |text: &str, says: &str| {
            let message = set("stages: { plan: { use: a } }", text).unwrap_err().to_string();
            assert!(message.contains(says), "{message}");
        };
        fails("plan.remove=1", "did you mean `plan.with.remove`");
        fails("plan.with.x", "has no `=`");
        fails("plam.with.x=1", "did you mean `plan`");
        fails("defaults.gpu=1", "cannot be set");
        fails("plan.with.x.y={", "not a YAML value");
        fails("plan.use={", "not a YAML value");
        fails("plan.with.x=.nan", ".nan, which is not a finite number");
        fails("plan.with.x={ y: -.inf }", "`y` is -.inf, which is not a finite number");
    }
}
