//! From a sweep file to its cells.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use oops_core::Fault;
use serde_yaml::{Mapping, Value};

use super::{
    Cell, Sweep,
    clash::no_clash,
    judge::Named,
    product,
    raw::{ROW_KEYS, RawRow, RawSweep, SWEEP_KEYS},
};
use crate::{Problem, Problems, Setting, document::Document, overrides::Override, raw::VERSION, setting::SweepText};

/// A row or column: what it sets.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) settings: Vec<Setting>,
    pipeline: Option<PathBuf>,
    judge: Option<Named>,
}

pub(super) struct Reader<'d> {
    pub(super) document: &'d Document,
    text: Arc<SweepText>,
    folder: &'d Path,
}

/// Reads a sweep file.
pub(super) fn read(
    path: &Path,
    document: &Document,
    flags: &[String],
    judge: Option<Named>,
) -> Result<Sweep, Problems> {
    let last = product::fixed(path, flags)?;
    let (name, text) = document.source();
    let text = Arc::new(SweepText { name: name.to_owned(), text: text.to_owned() });
    let reader = Reader { document, text, folder: path.parent().unwrap_or(Path::new(".")) };
    let mut sweep = reader.sweep(judge, last).map_err(|p| document.problems(vec![p]))?;
    path.clone_into(&mut sweep.file);
    Ok(sweep)
}

impl Reader<'_> {
    fn sweep(&self, judge: Option<Named>, last: Vec<Setting>) -> Result<Sweep, Problem> {
        let raw: RawSweep = self.document.typed(&self.document.value, &[], SWEEP_KEYS)?;
        if raw.version != VERSION {
            let fault = Fault::config(format!("version {} of the sweep format is not known", raw.version));
            let place = self.document.value_place(&["version"]);
            return Err(Problem::new(fault.help(format!("allowed: {VERSION}")), place));
        }
        let base = self.pipeline(&raw.pipeline, &["pipeline"])?;
        let first: Vec<_> = self.settings(raw.set.as_ref(), &["set"])?.into_iter().map(Setting::lenient).collect();
        let columns = self.columns(raw.columns.as_ref())?;
        let rows = self.rows(raw.rows.as_ref())?;
        no_clash(&columns, &rows)?;
        let seeds = self.seeds(raw.seeds.as_deref(), [&columns, &rows])?;
        let judge = judge.or_else(|| raw.judge.map(|j| self.judge(j, &["judge"])));
        let figures = raw.figures.map(|all| {
            let one = |(i, name): (usize, String)| self.judge(name, &["figures", &i.to_string()]);
            all.into_iter().enumerate().map(one).collect::<Vec<_>>()
        });
        let mut cells = Vec::new();
        for (r, row) in rows.iter().enumerate() {
            for (c, column) in columns.iter().enumerate() {
                cells.extend(seeds.iter().map(|seed| {
                    Cell {
                        row: r,
                        column: c,
                        seed: seed.as_ref().map(|s| s.0),
                        name: cell_name(&row.name, &column.name, seed.as_ref().map(|s| s.0)),
                        settings: [&first, &column.settings, &row.settings, &seed_of(seed.as_ref()), &last]
                            .into_iter()
                            .flatten()
                            .cloned()
                            .collect(),
                        pipeline: row.pipeline.clone().unwrap_or_else(|| base.clone()),
                        judge: row.judge.clone().or_else(|| judge.clone()),
                        figures: figures.clone(),
                    }
                }));
            }
        }
        let names = |lines: Vec<Line>| lines.into_iter().map(|l| l.name).collect();
        Ok(Sweep {
            file: PathBuf::new(),
            about: raw.about.map(|a| a.trim().to_owned()),
            columns: names(columns),
            rows: names(rows),
            seeds: raw.seeds.unwrap_or_default(),
            cells,
            common: [first, last],
        })
    }

    fn columns(&self, map: Option<&Mapping>) -> Result<Vec<Line>, Problem> {
        let Some(map) = map else {
            return Ok(vec![Line { name: String::new(), settings: Vec::new(), pipeline: None, judge: None }]);
        };
        let line = |(key, value): (&Value, &Value)| {
            let name = self.name(key, "columns")?;
            let settings = self.settings(Some(value), &["columns", &name])?;
            Ok(Line { name, settings, pipeline: None, judge: None })
        };
        let columns: Vec<Line> = map.iter().map(line).collect::<Result<_, _>>()?;
        let none = || Fault::config("`columns` is empty").help("leave it out for a table with one column");
        if columns.is_empty() { Err(Problem::new(none(), self.document.key_place(&["columns"]))) } else { Ok(columns) }
    }

    fn rows(&self, map: Option<&Mapping>) -> Result<Vec<Line>, Problem> {
        let map = map.filter(|m| !m.is_empty()).ok_or_else(|| {
            let fault =
                Fault::config("the sweep has no rows").help("add at least one: `rows: { NAME: { set: { … } } }`");
            Problem::new(fault, self.document.key_place(&["rows"]))
        })?;
        let line = |(key, value): (&Value, &Value)| {
            let name = self.name(key, "rows")?;
            let path = ["rows", name.as_str()];
            let raw = if value.is_null() { RawRow::default() } else { self.document.typed(value, &path, ROW_KEYS)? };
            let at = |key| ["rows", name.as_str(), key];
            Ok(Line {
                settings: self.settings(raw.set.as_ref(), &at("set"))?,
                pipeline: raw.pipeline.map(|p| self.pipeline(&p, &at("pipeline"))).transpose()?,
                judge: raw.judge.map(|j| self.judge(j, &at("judge"))),
                name: name.clone(),
            })
        };
        map.iter().map(line).collect()
    }

    /// The name of a row or column; numbers are names too.
    fn name(&self, key: &Value, section: &str) -> Result<String, Problem> {
        match key {
            Value::String(text) if !text.trim().is_empty() => Ok(text.clone()),
            Value::Number(number) => Ok(number.to_string()),
            _ => {
                let fault = Fault::config("a name must be text").help("put it in quotes");
                Err(Problem::new(fault, self.document.key_place(&[section])))
            }
        }
    }

    /// The entries of a `set`.
    fn settings(&self, value: Option<&Value>, path: &[&str]) -> Result<Vec<Setting>, Problem> {
        let Some(value) = value.filter(|v| !v.is_null()) else { return Ok(Vec::new()) };
        let map = value.as_mapping().ok_or_else(|| {
            let fault =
                Fault::config("expected a mapping of overrides").help("for example { plan.with.remove_fraction: 0.3 }");
            Problem::new(fault, self.document.value_place(path))
        })?;
        let setting = |(key, value): (&Value, &Value)| {
            let key = key.as_str().unwrap_or_default();
            let path = [path, &[key]].concat();
            Override::entry(key, value).map_err(|f| Problem::new(f, self.document.key_place(&path)))?;
            Ok(Setting::entry(key, value, Arc::clone(&self.text), self.document.entry_span(&path)))
        };
        map.iter().map(setting).collect()
    }

    fn pipeline(&self, name: &str, path: &[&str]) -> Result<PathBuf, Problem> {
        let file = self.folder.join(name);
        if file.is_file() {
            return Ok(file);
        }
        let fault = Fault::config("there is no such pipeline file").at(file.display());
        Err(Problem::new(fault.help("paths are relative to the sweep file"), self.document.value_place(path)))
    }

    pub(super) fn seed(&self, seed: u64) -> Setting {
        Setting::entry(
            "defaults.seed",
            &Value::from(seed),
            Arc::clone(&self.text),
            self.document.entry_span(&["seeds"]),
        )
    }

    fn judge(&self, name: String, path: &[&str]) -> Named {
        Named { name, written: Some((Arc::clone(&self.text), self.document.entry_span(path))) }
    }
}

fn seed_of(seed: Option<&(u64, Setting)>) -> Vec<Setting> {
    seed.map(|(_, setting)| setting.clone()).into_iter().collect()
}

fn cell_name(row: &str, column: &str, seed: Option<u64>) -> String {
    let column = if column.is_empty() { String::new() } else { format!(", {column}") };
    format!("{row}{column}{}", seed.map(|s| format!(", seed {s}")).unwrap_or_default())
}
