//! What a sweep file must not say twice: a column and a row, or seeds and a `set`, over the same value.

use oops_core::Fault;

use super::file::{Line, Reader};
use crate::{Problem, Setting};

/// The document path of a setting; settings were checked when they were read.
fn path(setting: &Setting) -> Vec<String> {
    setting.parse().map(|o| o.path).unwrap_or_default()
}

/// A row that sets what a column sets would make all its columns the same.
pub(super) fn no_clash(columns: &[Line], rows: &[Line]) -> Result<(), Problem> {
    for row in rows {
        for setting in &row.settings {
            let Some(column) = columns.iter().find(|c| c.settings.iter().any(|s| path(s) == path(setting))) else {
                continue;
            };
            let what = format!("the row `{}` and the column `{}` set the same value", row.name, column.name);
            return Err(Problem::new(Fault::config(what).help("set it in one of the two"), setting.place()));
        }
    }
    Ok(())
}

impl Reader<'_> {
    /// Each seed with its setting; one none if the file gives no seeds.
    pub(super) fn seeds(
        &self,
        seeds: Option<&[u64]>,
        lines: [&[Line]; 2],
    ) -> Result<Vec<Option<(u64, Setting)>>, Problem> {
        let Some(seeds) = seeds else { return Ok(vec![None]) };
        let wrong = |what: &str, help: &str| {
            Problem::new(Fault::config(what).help(help), self.document.value_place(&["seeds"]))
        };
        let twice = seeds.iter().enumerate().any(|(i, s)| seeds[..i].contains(s));
        if seeds.is_empty() || twice {
            return Err(wrong("`seeds` must be different whole numbers, at least one", "for example [17, 23, 31]"));
        }
        let mut settings = lines.into_iter().flatten().flat_map(|l| &l.settings);
        if let Some(setting) = settings.find(|s| path(s) == ["defaults", "seed"]) {
            let fault = Fault::config("the sweep has `seeds`, and this sets the seed too");
            return Err(Problem::new(fault.help("set it in one of the two"), setting.place()));
        }
        Ok(seeds.iter().map(|&seed| Some((seed, self.seed(seed)))).collect())
    }
}
