//! The pipeline file as it is typed: `version`, `about`, `defaults`, `stages`; per stage `use`, `in`, `with`, `about`.

use std::fmt;

use serde::{Deserialize, Deserializer, de};
use serde_yaml::{Mapping, Value};

/// The version of the file format.
pub(crate) const VERSION: u64 = 1;

/// Keys of the file.
pub(crate) const FILE_KEYS: &[&str] = &["version", "about", "defaults", "stages"];

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping with the keys version, about, defaults, stages")]
pub(crate) struct RawFile {
    pub(crate) version: u64,
    pub(crate) about: Option<String>,
    pub(crate) defaults: Option<Value>,
    pub(crate) stages: Option<Mapping>,
}

/// Keys of `defaults`.
pub(crate) const DEFAULT_KEYS: &[&str] = &["seed", "device"];

/// What holds for all stages.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a mapping with the keys seed, device")]
pub(crate) struct RawDefaults {
    pub(crate) seed: u64,
    /// A name until [`crate::build`] has looked it up.
    pub(crate) device: Option<String>,
}

/// Keys of a stage.
pub(crate) const STAGE_KEYS: &[&str] = &["use", "in", "with", "about"];

/// One stage instance.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping with the keys use, in, with, about")]
pub(crate) struct RawStage {
    #[serde(rename = "use")]
    pub(crate) stage: String,
    #[serde(rename = "in")]
    pub(crate) inputs: Option<Mapping>,
    pub(crate) with: Option<Mapping>,
    pub(crate) about: Option<String>,
}

/// What an input port is connected to: a name or a list of names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RawInput {
    One(String),
    List(Vec<String>),
}

impl RawInput {
    pub(crate) fn names(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::List(names) => names,
        }
    }
}

impl<'de> Deserialize<'de> for RawInput {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = RawInput;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a stage or a list of names")
            }

            fn visit_str<E: de::Error>(self, v: &str) -> Result<RawInput, E> {
                Ok(RawInput::One(v.to_owned()))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<RawInput, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = seq.next_element()? {
                    names.push(name);
                }
                Ok(RawInput::List(names))
            }
        }
        d.deserialize_any(Visitor)
    }
}
