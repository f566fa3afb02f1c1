//! From a document to a graph: every name, key, type and connection is checked, and all problems are reported at once.

use std::path::PathBuf;

use oops_core::{Device, Fault};
use oops_stage::{AnyStage, Port, Registry};
use serde_json::{Map, Value};
use serde_yaml::{Mapping, Value as Yaml};

use crate::{
    Graph, Node, Place, Problem, Problems,
    document::Document,
    order::{dag, order},
    raw::{DEFAULT_KEYS, FILE_KEYS, RawDefaults, RawFile, RawStage, STAGE_KEYS, VERSION},
    values::rounded,
};

/// An instance whose inputs are still names.
pub(crate) struct Draft<'r> {
    pub(crate) name: String,
    pub(crate) stage: &'r dyn AnyStage,
    pub(crate) params: Value,
    pub(crate) inputs: Vec<(&'static Port, Vec<String>)>,
    pub(crate) about: Option<String>,
}

pub(crate) struct Builder<'r> {
    pub(crate) document: Document,
    pub(crate) registry: &'r Registry,
    pub(crate) problems: Vec<Problem>,
    pub(crate) notes: Vec<String>,
}

/// Builds the graph of a document.
pub(crate) fn build(file: PathBuf, document: Document, registry: &Registry) -> Result<Graph<'_>, Problems> {
    let mut b = Builder { document, registry, problems: Vec::new(), notes: Vec::new() };
    let raw = match b.file() {
        Ok(raw) => raw,
        Err(problem) => return Err(b.document.problems(vec![problem])),
    };
    let defaults = b.defaults(raw.defaults.as_ref());
    let stages = raw.stages.unwrap_or_default();
    let drafts: Vec<Option<Draft<'_>>> = stages.iter().map(|(key, value)| b.draft(key, value)).collect();
    let names: Vec<&str> = stages.keys().filter_map(Yaml::as_str).collect();
    let edges = b.connect(&drafts, &names);
    if !b.problems.is_empty() {
        return Err(b.document.problems(b.problems));
    }
    let drafts: Vec<Draft<'_>> = drafts.into_iter().flatten().collect();
    let order = match order(&dag(drafts.len(), edges.iter().copied())) {
        Ok(order) => order,
        Err(cycle) => return Err(b.document.problems(vec![b.cycle(&cycle, &drafts)])),
    };
    let place: Vec<usize> = inverse(&order);
    let mut drafts: Vec<Option<Draft<'_>>> = drafts.into_iter().map(Some).collect();
    let position = |name: &String| names.iter().position(|n| n == name).map(|i| place[i]);
    let nodes = order.iter().filter_map(|&i| drafts[i].take()).map(|d| node(d, &position)).collect();
    Ok(Graph {
        file,
        about: raw.about,
        seed: defaults.seed,
        device: defaults.device.as_deref().and_then(Device::named).unwrap_or_default(),
        nodes,
        notes: b.notes,
        dag: dag(order.len(), edges.iter().map(|&(a, b)| (place[a], place[b]))),
        document: b.document,
    })
}

fn inverse(order: &[usize]) -> Vec<usize> {
    let mut place = vec![0; order.len()];
    order.iter().enumerate().for_each(|(position, &i)| place[i] = position);
    place
}

fn node<'r>(draft: Draft<'r>, position: &impl Fn(&String) -> Option<usize>) -> Node<'r> {
    let inputs = draft.inputs.iter().map(|(p, names)| (p.name, names.iter().filter_map(position).collect())).collect();
    Node {
        name: draft.name,
        stage: draft.stage,
        params: draft.params,
        inputs,
        about: draft.about,
        sources: Vec::new(),
        facts: oops_stage::Facts::default(),
    }
}

impl<'r> Builder<'r> {
    fn file(&self) -> Result<RawFile, Problem> {
        if self.document.value.is_null() {
            let fault = Fault::config("the file is empty").help("begin with `version: 1` and `stages:`");
            return Err(Problem::new(fault, Place::Nowhere));
        }
        let raw: RawFile = self.document.typed(&self.document.value, &[], FILE_KEYS)?;
        if raw.version != VERSION {
            let fault = Fault::config(format!("version {} of the pipeline format is not known", raw.version));
            return Err(Problem::new(
                fault.help(format!("allowed: {VERSION}")),
                self.document.value_place(&["version"]),
            ));
        }
        if raw.stages.as_ref().is_none_or(Mapping::is_empty) {
            let fault = Fault::config("the pipeline has no stages")
                .help("add at least one: `stages: { dense: { use: source.model, with: { path: … } } }`");
            return Err(Problem::new(fault, self.document.key_place(&["stages"])));
        }
        Ok(raw)
    }

    fn defaults(&mut self, value: Option<&Yaml>) -> RawDefaults {
        let Some(value) = value.filter(|v| !v.is_null()) else { return RawDefaults::default() };
        let defaults: RawDefaults = match self.document.typed(value, &["defaults"], DEFAULT_KEYS) {
            Ok(defaults) => defaults,
            Err(problem) => {
                self.problems.push(problem);
                return RawDefaults::default();
            }
        };
        if let Some(device) = defaults.device.as_deref().filter(|d| Device::named(d).is_none()) {
            let allowed = Device::ALL.map(Device::name).join(", ");
            let fault =
                Fault::config(format!("the device `{device}` is not known")).help(format!("allowed: {allowed}"));
            self.problems.push(Problem::new(fault, self.document.value_place(&["defaults", "device"])));
        }
        defaults
    }

    fn draft(&mut self, key: &Yaml, value: &Yaml) -> Option<Draft<'r>> {
        self.try_draft(key, value).map_err(|p| self.problems.push(p)).ok()
    }

    fn try_draft(&mut self, key: &Yaml, value: &Yaml) -> Result<Draft<'r>, Problem> {
        let name = key.as_str().filter(|n| is_name(n)).ok_or_else(|| {
            let shown = serde_yaml::to_string(key).unwrap_or_default().trim().to_owned();
            let fault = Fault::config(format!("`{shown}` cannot be the name of a stage"))
                .help("allowed: letters, digits, `_` and `-`, beginning with a letter");
            Problem::new(fault, self.document.key_place(&["stages", &shown]))
        })?;
        let mut raw: RawStage = self.document.typed(value, &["stages", name], STAGE_KEYS)?;
        let stage = self
            .registry
            .get(&raw.stage)
            .map_err(|f| Problem::new(f, self.document.value_place(&["stages", name, "use"])))?;
        self.drop_after_swap(name, stage, &mut raw);
        let params = self.params(name, stage, raw.with.as_ref())?;
        let inputs = self.inputs(name, stage, &raw.inputs.unwrap_or_default())?;
        Ok(Draft { name: name.to_owned(), stage, params, inputs, about: raw.about })
    }

    /// After `--set name.use=…`, parameters and inputs that the file gives to the old stage and the new one does not
    /// know are dropped.
    fn drop_after_swap(&mut self, name: &str, stage: &dyn AnyStage, raw: &mut RawStage) {
        let original = self.document.original.get("stages").and_then(|s| s.get(name));
        let used = original.and_then(|s| s.get("use")).and_then(Yaml::as_str);
        if used.is_none_or(|u| u == raw.stage) {
            return;
        }
        let ports: Vec<&str> = stage.inputs().iter().map(|p| p.name).collect();
        let params = properties(stage);
        let params: Vec<&str> = params.iter().map(String::as_str).collect();
        let sections = [("with", &mut raw.with, &params), ("in", &mut raw.inputs, &ports)];
        for (section, map, known) in sections {
            let Some(map) = map else { continue };
            let path = |key: &str| ["stages", name, section, key].map(str::to_owned).to_vec();
            let given: Vec<String> = map.keys().filter_map(Yaml::as_str).map(str::to_owned).collect();
            let unknown = given.iter().filter(|k| !known.contains(&k.as_str()));
            for key in unknown.filter(|k| !self.document.must_know(&path(k))).collect::<Vec<_>>() {
                map.remove(key.as_str());
                self.document.forget(&path(key));
                self.notes
                    .push(format!("{name}: {} has no `{key}`, so the file's {section}.{key} is dropped", stage.name()));
            }
        }
    }

    fn params(&self, name: &str, stage: &dyn AnyStage, with: Option<&Mapping>) -> Result<Value, Problem> {
        let path = ["stages", name, "with"];
        let with = with.cloned().unwrap_or_default();
        let mut json = serde_json::to_value(&with).map_err(|e| {
            let fault = Fault::config(format!("parameters must be JSON-like values: {e}"));
            Problem::new(fault, self.document.key_place(&path))
        })?;
        self.take_typed(name, stage, &mut json)?;
        let resolved = stage.resolve(&json).map_err(|fault| {
            let one_key = |key: &str| {
                let one = Value::Object(Map::from_iter([(key.to_owned(), json[key].clone())]));
                stage.resolve(&one).err().map(|f| f.what().to_owned())
            };
            let known = properties(stage);
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            let mut problem =
                self.document.blame(fault.what(), &path, &known, with.keys().filter_map(Yaml::as_str), one_key);
            problem.fault = problem.fault.help(format!("parameters of {}: {}", stage.name(), known.join(", ")));
            problem
        })?;
        match rounded(&json, &resolved) {
            None => Ok(resolved),
            Some((inner, given, held)) => {
                let fault = Fault::config(format!("{given} would be rounded to {held}"))
                    .help("integers above 2^53 are not exact where a parameter takes fractions");
                let inner: Vec<&str> = path.into_iter().chain(inner.iter().map(String::as_str)).collect();
                Err(Problem::new(fault, self.document.value_place(&inner)))
            }
        }
    }

    /// Takes values of flags as text where the parameter takes that and not what YAML makes of it.
    fn take_typed(&self, name: &str, stage: &dyn AnyStage, json: &mut Value) -> Result<(), Problem> {
        let schema = stage.schema();
        for (key, value) in json.as_object_mut().into_iter().flatten() {
            let Some((typed, place)) = self.document.typed_at(&["stages", name, "with", key]) else { continue };
            let text = typed.as_text(&schema, key, value).map_err(|fault| Problem::new(fault, place))?;
            if let Some(text) = text {
                *value = text;
            }
        }
        Ok(())
    }
}

/// Names of a stage's parameters.
fn properties(stage: &dyn AnyStage) -> Vec<String> {
    let schema = stage.schema();
    let map = schema.get("properties").and_then(Value::as_object);
    map.map(|m| m.keys().cloned().collect()).unwrap_or_default()
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}
