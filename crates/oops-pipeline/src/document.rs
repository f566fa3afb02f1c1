//! A pipeline file with its overrides: values, and where each of them was written.

use std::path::Path;

use oops_core::Fault;
use serde::de::DeserializeOwned;
use serde_yaml::{Mapping, Value};

use crate::{
    Place, Problem, Problems,
    explain::{explain, quoted},
    overrides::Override,
    setting::Setting,
    spots::Spot,
    typed::Typed,
    values::unusable,
};

/// Values of a file after overrides, with places.
pub(crate) struct Document {
    file: String,
    text: String,
    spots: Spot,
    settings: Vec<Setting>,
    /// Parsed settings; none where the pipeline does without one.
    overrides: Vec<Option<Override>>,
    /// The values after overrides.
    pub(crate) value: Value,
    /// The values in the file.
    pub(crate) original: Value,
}

impl Document {
    /// Reads a file and applies overrides.
    pub(crate) fn open(path: &Path, settings: &[Setting]) -> Result<Self, Problems> {
        let file = path.display().to_string();
        let nowhere = |fault: Fault| Problems {
            file: file.clone(),
            text: String::new(),
            settings: Vec::new(),
            list: vec![Problem::new(fault, Place::Nowhere)],
        };
        let text = std::fs::read_to_string(path).map_err(|e| {
            let fault = Fault::config(format!("cannot read the pipeline: {e}")).at(path.display());
            nowhere(fault.help("give the path of a pipeline file, for example pipelines/llama.yaml"))
        })?;
        Self::parse(file, text, settings)
    }

    /// Parses text and applies overrides.
    pub(crate) fn parse(file: String, mut text: String, settings: &[Setting]) -> Result<Self, Problems> {
        // Programs on Windows begin a file with a byte order mark; it is no part of the text.
        if text.starts_with('\u{feff}') {
            text.remove(0);
        }
        let parsed = serde_yaml::from_str::<Value>(&text);
        let mut document = Self {
            file,
            spots: Spot::of(&text),
            text,
            settings: settings.to_vec(),
            overrides: Vec::new(),
            value: Value::Null,
            original: Value::Null,
        };
        match parsed {
            Ok(value) => document.original = value.clone(),
            Err(e) => return Err(document.problems(vec![document.syntax(&e)])),
        }
        let unusable = unusable(&document.original).into_iter().map(|(path, fault)| {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            Problem::new(fault, document.value_place(&path))
        });
        let unusable: Vec<Problem> = unusable.collect();
        if !unusable.is_empty() {
            return Err(document.problems(unusable));
        }
        document.value = document.original.clone();
        document.apply()?;
        Ok(document)
    }

    fn apply(&mut self) -> Result<(), Problems> {
        let mut wrong = Vec::new();
        for (i, setting) in self.settings.iter().enumerate() {
            let applied = setting.parse().and_then(|o| {
                let without = setting.lenient && o.instance().is_some_and(|name| !has_stage(&self.original, name));
                if without { Ok(None) } else { o.apply(&mut self.value).map(|()| Some(o)) }
            });
            self.overrides.push(applied.unwrap_or_else(|f| {
                wrong.push(Problem::new(f, Place::Override(i)));
                None
            }));
        }
        if wrong.is_empty() { Ok(()) } else { Err(self.problems(wrong)) }
    }

    /// Wraps problems with the texts that they point into.
    pub(crate) fn problems(&self, list: Vec<Problem>) -> Problems {
        let placed = |p: Problem| match p.place {
            Place::Nowhere if p.fault.places().is_empty() => Problem::new(p.fault.at(&self.file), p.place),
            _ => p,
        };
        let list = list.into_iter().map(placed).collect();
        Problems { file: self.file.clone(), text: self.text.clone(), settings: self.settings.clone(), list }
    }

    /// Whether an override that must be understood wrote this value.
    pub(crate) fn must_know(&self, path: &[String]) -> bool {
        let strict = self.settings.iter().zip(&self.overrides).filter(|(s, _)| !s.lenient);
        strict.filter_map(|(_, o)| o.as_ref()).any(|o| o.path.starts_with(path))
    }

    /// Takes out what overrides wrote at a path: it was dropped.
    pub(crate) fn forget(&mut self, path: &[String]) {
        for o in self.overrides.iter_mut().filter(|o| o.as_ref().is_some_and(|o| o.path.starts_with(path))) {
            *o = None;
        }
    }

    /// Which settings had something to say to this pipeline.
    pub(crate) fn applied(&self) -> Vec<bool> {
        self.overrides.iter().map(Option::is_some).collect()
    }

    /// How the value at a path was typed, if a flag of the command line gave it, and its place.
    pub(crate) fn typed_at(&self, path: &[&str]) -> Option<(&Typed, Place)> {
        let wrote = |o: &Option<Override>| o.as_ref().is_some_and(|o| o.path == path);
        let i = self.overrides.iter().rposition(wrote)?;
        Some((self.overrides[i].as_ref()?.typed.as_ref()?, Place::Override(i)))
    }

    /// Whether the file or an override gives this parameter.
    pub(crate) fn given(&self, instance: &str, param: &str) -> bool {
        let stage = self.value.get("stages").and_then(|s| s.get(instance));
        stage.and_then(|s| s.get("with")).is_some_and(|w| w.get(param).is_some())
    }

    /// Place of the value at a path, or of what is nearest above it.
    pub(crate) fn value_place(&self, path: &[&str]) -> Place {
        self.place(path, |e| if e.value.span.is_empty() { e.key_span.clone() } else { e.value.span.clone() })
    }

    /// Place of the key at a path, or of what is nearest above it.
    pub(crate) fn key_place(&self, path: &[&str]) -> Place {
        self.place(path, |e| e.key_span.clone())
    }

    /// The text of the entry at a path, key and value; the key of what is nearest above it if it is not found.
    pub(crate) fn entry_span(&self, path: &[&str]) -> std::ops::Range<usize> {
        match self.spots.find(path) {
            Some(e) => e.key_span.start..e.value.span.end.max(e.key_span.end),
            None => match self.key_place(path) {
                Place::File(span) => span,
                _ => 0..0,
            },
        }
    }

    /// Name and text of the file.
    pub(crate) fn source(&self) -> (&str, &str) {
        (&self.file, &self.text)
    }

    fn place(&self, path: &[&str], pick: impl Fn(&crate::spots::Entry) -> std::ops::Range<usize>) -> Place {
        // The last override that wrote this value or something around it.
        let written = |o: &Option<Override>| o.as_ref().is_some_and(|o| o.path.iter().zip(path).all(|(a, b)| a == b));
        let deep = |o: &Option<Override>| o.as_ref().is_some_and(|o| o.path.len() <= path.len());
        if let Some(i) = self.overrides.iter().rposition(|o| written(o) && deep(o)) {
            return Place::Override(i);
        }
        if let Some(entry) = self.spots.find(path) {
            return Place::File(pick(entry));
        }
        // Only the key of what is above: its value may span the whole file.
        match (1..path.len()).rev().find_map(|n| self.spots.find(&path[..n])) {
            Some(entry) => Place::File(entry.key_span.clone()),
            None => Place::Nowhere,
        }
    }

    /// Deserializes the value at a path; what does not fit is placed at the key or value that is to blame.
    pub(crate) fn typed<T: DeserializeOwned>(&self, value: &Value, path: &[&str], keys: &[&str]) -> Result<T, Problem> {
        let parse = |v: Value| serde_yaml::from_value::<T>(v).map_err(|e| e.to_string());
        parse(value.clone()).map_err(|message| {
            let one_key = |key: &str| {
                let entry = value.get(key).map(|v| (Value::from(key), v.clone()));
                parse(Value::Mapping(Mapping::from_iter(entry))).err()
            };
            let names = value.as_mapping().into_iter().flat_map(|m| m.keys().filter_map(Value::as_str));
            self.blame(&message, path, keys, names, one_key)
        })
    }

    /// Places serde's `message` about the mapping at `path`. The key to blame is the one that alone (`one_key`) leads
    /// to the same message.
    pub(crate) fn blame<'k>(
        &self,
        message: &str,
        path: &[&str],
        allowed: &[&str],
        mut present: impl Iterator<Item = &'k str>,
        one_key: impl Fn(&str) -> Option<String>,
    ) -> Problem {
        let fault = explain(message, allowed);
        if let Some(key) = quoted(message, "unknown field `") {
            return Problem::new(fault, self.key_place(&[path, &[key]].concat()));
        }
        let missing = message.starts_with("missing field");
        match present.find(|k| !missing && one_key(k).as_deref() == Some(message)) {
            Some(key) => {
                let what = format!("`{key}` does not fit: {}", fault.what());
                let fault = fault.help_text().iter().fold(Fault::config(what), |f, h| f.help(*h));
                Problem::new(fault, self.value_place(&[path, &[key]].concat()))
            }
            None => Problem::new(fault, self.key_place(path)),
        }
    }

    fn syntax(&self, error: &serde_yaml::Error) -> Problem {
        let message = error.to_string();
        let place = match duplicate_key(&message).and_then(|key| second_place(&self.spots, key)) {
            Some(range) => Place::File(range),
            None => error.location().map_or(Place::Nowhere, |l| {
                // libyaml counts characters, not bytes.
                let start = self.text.char_indices().nth(l.index()).map_or(self.text.len(), |(at, _)| at);
                Place::File(start..start)
            }),
        };
        let what = match duplicate_key(&message) {
            Some(key) => format!("the key `{key}` stands here twice"),
            None => format!("not valid YAML: {}", message.split(" at line ").next().unwrap_or(&message)),
        };
        Problem::new(Fault::config(what), place)
    }
}

fn has_stage(document: &Value, name: &str) -> bool {
    document.get("stages").is_some_and(|s| s.get(name).is_some())
}

fn duplicate_key(message: &str) -> Option<&str> {
    message.split("duplicate entry with key \"").nth(1)?.split('"').next()
}

/// Where a mapping has `key` for the second time.
fn second_place(spot: &Spot, key: &str) -> Option<std::ops::Range<usize>> {
    let here = spot.entries.iter().filter(|e| e.key == key).nth(1).map(|e| e.key_span.clone());
    here.or_else(|| spot.entries.iter().find_map(|e| second_place(&e.value, key)))
}
