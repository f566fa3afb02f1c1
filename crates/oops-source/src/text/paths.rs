//! Which files a text is: a file, the text files of a folder, or those that a pattern names, always in the same order.

use std::{
    fs,
    path::{Path, PathBuf},
};

use oops_core::{Fault, Result, bail_if};
use oops_stage::{Source, expand};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::read::{ENDINGS, ending, unknown};

/// A path, or several.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "`path` must be a path or a list of paths")]
pub(super) enum Paths {
    One(String),
    Several(Vec<String>),
}

impl Paths {
    /// The files, in the order of the list; those of a folder or a pattern by name.
    pub(super) fn files(&self, base: &Path) -> Result<Vec<PathBuf>> {
        let paths = match self {
            Self::One(path) => std::slice::from_ref(path),
            Self::Several(paths) => paths,
        };
        let files = paths.iter().map(|path| files_of(path, base)).collect::<Result<Vec<_>>>()?.concat();
        bail_if(files.is_empty(), || Fault::config("`path` names no file").help("give at least one"))?;
        match files.iter().find(|f| ending(f).is_none()) {
            Some(other) => Err(unknown(other)),
            None => Ok(files),
        }
    }
}

fn files_of(text: &str, base: &Path) -> Result<Vec<PathBuf>> {
    let path = Source::resolve(base, text)?;
    if path.is_file() {
        return Ok(vec![path]);
    }
    if path.is_dir() {
        return of_folder(&path);
    }
    let found = if text.contains(['*', '?', '[']) { of_pattern(&expand(text)?, base)? } else { Vec::new() };
    bail_if(found.is_empty(), || {
        let what = if text.contains(['*', '?', '[']) { "no file fits the pattern" } else { "no such file" };
        Fault::data(what).at(path.display()).help("paths are relative to the pipeline file")
    })?;
    Ok(found)
}

/// The text files right in a folder.
fn of_folder(folder: &Path) -> Result<Vec<PathBuf>> {
    let fault = |e: std::io::Error| Fault::reading(folder, &e);
    let entries = fs::read_dir(folder).map_err(fault)?;
    let all = entries.map(|e| e.map(|e| e.path())).collect::<std::io::Result<Vec<_>>>().map_err(fault)?;
    let hidden = |p: &Path| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
    let mut files: Vec<PathBuf> =
        all.iter().filter(|p| !hidden(p) && ending(p).is_some() && p.is_file()).cloned().collect();
    files.sort();
    bail_if(files.is_empty(), || {
        let mut inner: Vec<String> = all.iter().filter(|p| p.is_dir()).map(|p| name(p)).collect();
        inner.sort();
        let inner = if inner.is_empty() { String::new() } else { format!("; its folders: {}", inner.join(", ")) };
        Fault::data(format!("the folder holds no text file (.{})", ENDINGS.join(", .")))
            .at(folder.display())
            .help(format!("name another folder, or a pattern such as `folder/**/*.parquet`{inner}"))
    })?;
    Ok(files)
}

fn of_pattern(path: &Path, base: &Path) -> Result<Vec<PathBuf>> {
    let text = path.to_string_lossy();
    let pattern = if path.is_absolute() {
        text.to_string()
    } else {
        format!("{}/{text}", glob::Pattern::escape(&base.to_string_lossy()))
    };
    let fault = |e: &dyn std::fmt::Display| Fault::config(format!("`{text}` is no pattern: {e}"));
    // As in a shell, `*` names no hidden file.
    let options = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::new() };
    let found = glob::glob_with(&pattern, options).map_err(|e| fault(&e))?;
    let found = found.collect::<std::result::Result<Vec<_>, _>>().map_err(|e| fault(&e))?;
    Ok(found.into_iter().filter(|p| p.is_file()).collect())
}

/// What people call a text in these files: the name of the file, or that of the folder with the number of files.
pub fn text_name<'p>(files: impl IntoIterator<Item = &'p Path>) -> String {
    let files: Vec<&Path> = files.into_iter().collect();
    match files[..] {
        [] => String::new(),
        [one] => name(one),
        [first, ..] => {
            let folder = first.parent().map(name).unwrap_or_default();
            format!("{folder}/ ({} files)", files.len())
        }
    }
}

fn name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}
