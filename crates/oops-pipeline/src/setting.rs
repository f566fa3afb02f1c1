//! Overrides with the place where each was written: a flag of the command line or an entry of a sweep file.

use std::{ops::Range, sync::Arc};

use oops_core::Result;
use serde_yaml::Value;

use crate::{Place, overrides::Override};

/// One override of a pipeline.
#[derive(Clone, Debug)]
pub struct Setting {
    form: Form,
    /// A pipeline that has no such stage does without it, and a stage that replaces another need not know the
    /// parameter: what is said for all rows of a sweep.
    pub(crate) lenient: bool,
}

#[derive(Clone, Debug)]
enum Form {
    Flag(String),
    Entry { key: String, value: Value, file: Arc<SweepText>, span: Range<usize> },
}

/// A sweep file's name and text, for diagnostics.
#[derive(Debug)]
pub(crate) struct SweepText {
    pub(crate) name: String,
    pub(crate) text: String,
}

impl Setting {
    /// `--set text`.
    pub fn flag(text: impl Into<String>) -> Self {
        Self { form: Form::Flag(text.into()), lenient: false }
    }

    /// `key: value` at `span` of a sweep file.
    pub(crate) fn entry(key: &str, value: &Value, file: Arc<SweepText>, span: Range<usize>) -> Self {
        Self { form: Form::Entry { key: key.to_owned(), value: value.clone(), file, span }, lenient: false }
    }

    /// The same for all rows of a sweep.
    pub(crate) fn lenient(self) -> Self {
        Self { lenient: true, ..self }
    }

    pub(crate) fn parse(&self) -> Result<Override> {
        match &self.form {
            Form::Flag(text) => Override::parse(text),
            Form::Entry { key, value, .. } => Override::entry(key, value),
        }
    }

    /// As `--set` would take it, with the value in JSON.
    pub fn text(&self) -> String {
        match &self.form {
            Form::Flag(text) => text.clone(),
            Form::Entry { key, value, .. } => {
                format!("{key}={}", serde_json::to_string(value).unwrap_or_default())
            }
        }
    }

    /// Its place in the sweep file.
    pub(crate) fn place(&self) -> Place {
        match &self.form {
            Form::Entry { span, .. } => Place::File(span.clone()),
            Form::Flag(_) => Place::Nowhere,
        }
    }

    /// Name, text and place for a diagnostic.
    pub(crate) fn shown(&self) -> (String, String, Range<usize>) {
        match &self.form {
            Form::Flag(text) => {
                let line = format!("--set {text}");
                let all = 0..line.len();
                ("command line".to_owned(), line, all)
            }
            Form::Entry { file, span, .. } => (file.name.clone(), file.text.clone(), span.clone()),
        }
    }
}
