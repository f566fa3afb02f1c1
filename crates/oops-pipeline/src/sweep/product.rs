//! The quick sweep: a pipeline file and flags with several values each, all combinations of them.

use std::path::Path;

use oops_core::Fault;

use super::{Cell, Sweep, judge::Named};
use crate::{Place, Problem, Problems, Setting, document::Document};

/// A pipeline file with flags that vary.
pub(super) fn read(path: &Path, document: &Document, flags: &[String], judge: Option<Named>) -> Sweep {
    let mut rows: Vec<(Vec<String>, Vec<Setting>)> = vec![Default::default()];
    for flag in flags {
        let values = alternatives(flag);
        let varies = values.len() > 1;
        let with = |(names, settings): &(Vec<String>, Vec<Setting>), value: &String| {
            let names = names.iter().cloned().chain(varies.then(|| value.clone())).collect();
            (names, settings.iter().cloned().chain([Setting::flag(value)]).collect())
        };
        rows = rows.iter().flat_map(|row| values.iter().map(move |v| with(row, v))).collect();
    }
    let named = |names: Vec<String>| if names.is_empty() { "the pipeline".to_owned() } else { names.join(", ") };
    let rows = rows.into_iter().map(|(names, settings)| (named(names), settings));
    let (rows, settings): (Vec<String>, Vec<_>) = rows.unzip();
    let cell = |(row, settings): (usize, Vec<Setting>)| Cell {
        row,
        column: 0,
        seed: None,
        name: rows[row].clone(),
        settings,
        pipeline: path.to_owned(),
        judge: judge.clone(),
        figures: None,
    };
    let cells = settings.into_iter().enumerate().map(cell).collect();
    let about = document.value.get("about").and_then(|a| a.as_str()).map(|a| a.trim().to_owned());
    let (file, columns, seeds) = (path.to_owned(), vec![String::new()], Vec::new());
    Sweep { file, about, columns, rows, seeds, cells, common: [Vec::new(), Vec::new()] }
}

/// Flags that hold for all rows of a sweep file; one with several values is wrong.
pub(super) fn fixed(path: &Path, flags: &[String]) -> Result<Vec<Setting>, Problems> {
    let settings: Vec<Setting> = flags.iter().map(|f| Setting::flag(f).lenient()).collect();
    let wrong = |i: usize| {
        let fault = Fault::config("a sweep file has its own rows and columns")
            .help("only a pipeline file can be varied with `a=x,y`; a comma inside a value needs quotes: a='\"x,y\"'");
        let list = vec![Problem::new(fault, Place::Override(i))];
        Problems { file: path.display().to_string(), text: String::new(), settings: settings.clone(), list }
    };
    match flags.iter().position(|f| alternatives(f).len() > 1) {
        Some(i) => Err(wrong(i)),
        None => Ok(settings),
    }
}

/// `a=x,y` as `a=x` and `a=y`. Commas inside brackets, braces or quotes belong to a value; quotes count where a value or a
/// part of a list begins, not inside a word.
fn alternatives(flag: &str) -> Vec<String> {
    let Some((key, values)) = flag.split_once('=') else { return vec![flag.to_owned()] };
    let (mut depth, mut quote, mut from) = (0usize, None, 0);
    let mut out = Vec::new();
    for (at, c) in values.char_indices() {
        match (c, quote) {
            ('"' | '\'', None) if depth > 0 || values[from..at].trim().is_empty() => quote = Some(c),
            (_, Some(q)) if c == q => quote = None,
            ('[' | '{', None) => depth += 1,
            (']' | '}', None) => depth = depth.saturating_sub(1),
            (',', None) if depth == 0 => {
                out.push(format!("{key}={}", values[from..at].trim()));
                from = at + 1;
            }
            _ => {}
        }
    }
    out.push(format!("{key}={}", values[from..].trim()));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_separate_values_unless_they_belong_to_one() {
        assert_eq!(alternatives("a=x,y"), ["a=x", "a=y"]);
        assert_eq!(alternatives("a=[x, y]"), ["a=[x, y]"]);
        assert_eq!(alternatives("a=[x, y],{b: 1, c: 2}, z"), ["a=[x, y]", "a={b: 1, c: 2}", "a=z"]);
        assert_eq!(alternatives("a='x,y'"), ["a='x,y'"]);
        assert_eq!(alternatives("a=it's,y"), ["a=it's", "a=y"]);
        assert_eq!(alternatives("a"), ["a"]);
    }
}
