//! A table of runs: one row per run, named columns of any values, of which a reader picks some rows and columns.

mod filter;

use oops_core::{Fault, Result, nearest};
use regex::Regex;
use serde_json::{Map, Value};

pub use filter::Filter;

use crate::table;

/// What a column is, which decides when it is worth showing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Names the row.
    Label,
    /// Names the row too, but only in the full table.
    Circumstance,
    /// Went in: worth showing where rows differ.
    Parameter,
    /// Came out.
    Figure,
    /// Came out too, but says nothing where all of several rows agree.
    Aside,
    /// Of what all rows are compared with (the dense model): worth showing where it differs.
    Reference,
}

/// A table; all rows have one value per column, null where the row has none.
#[derive(Clone, Debug, Default)]
pub struct Grid {
    /// Names of the columns and what they are.
    pub columns: Vec<(String, Role)>,
    /// The rows.
    pub rows: Vec<Vec<Value>>,
    /// Lines below the table.
    pub notes: Vec<String>,
}

impl Grid {
    /// A table of rows that each name their values; columns appear in the order in which rows first name them, labels
    /// first, then parameters, then figures.
    pub fn of(rows: &[Vec<(String, Role, Value)>], notes: Vec<String>) -> Self {
        let mut columns: Vec<(String, Role)> = Vec::new();
        for (name, role, _) in rows.iter().flatten() {
            if !columns.iter().any(|(n, _)| n == name) {
                columns.push((name.clone(), *role));
            }
        }
        let order = |role: Role| match role {
            Role::Label => 0,
            Role::Circumstance => 1,
            Role::Parameter => 2,
            Role::Figure | Role::Aside | Role::Reference => 3,
        };
        columns.sort_by_key(|(_, role)| order(*role));
        let value = |row: &Vec<(String, Role, Value)>, name: &str| {
            row.iter().find(|(n, ..)| n == name).map_or(Value::Null, |(.., value)| value.clone())
        };
        let rows = rows.iter().map(|row| columns.iter().map(|(name, _)| value(row, name)).collect()).collect();
        Self { columns, rows, notes }
    }

    /// Index of a column; `plan.with.gamma` is `plan.gamma`.
    pub(crate) fn column(&self, name: &str) -> Result<usize> {
        let short = name.replace(".with.", ".");
        self.columns.iter().position(|(n, _)| *n == short).ok_or_else(|| {
            let names: Vec<&str> = self.columns.iter().map(|(n, _)| n.as_str()).collect();
            let near = nearest(&short, names.iter().copied()).map(|n| format!("did you mean `{n}`? "));
            Fault::config(format!("no column is called `{name}`")).help(format!(
                "{}columns: {}",
                near.unwrap_or_default(),
                names.join(", ")
            ))
        })
    }

    /// Keeps the rows that pass.
    pub fn filter(&mut self, filter: &Filter) -> Result<()> {
        let column = self.column(filter.column())?;
        let mut kept = Vec::new();
        for row in self.rows.drain(..) {
            if filter.passes(&row[column])? {
                kept.push(row);
            }
        }
        self.rows = kept;
        Ok(())
    }

    /// Sorts by a column, rows without a value last; `-name` sorts downwards.
    pub fn sort(&mut self, by: &str) -> Result<()> {
        let (name, down) = by.strip_prefix('-').map_or((by, false), |name| (name, true));
        let column = self.column(name)?;
        self.rows.sort_by(|a, b| {
            let (a, b) = (&a[column], &b[column]);
            let ascending = filter::compare(a, b);
            let ordered = if down { ascending.reverse() } else { ascending };
            a.is_null().cmp(&b.is_null()).then(ordered)
        });
        Ok(())
    }

    /// Drops what says nothing: all but names and figures on which all rows agree, circumstances, empty columns.
    pub fn only_changed(&mut self) {
        if self.rows.is_empty() {
            return;
        }
        let differs = |c: usize| self.rows.iter().any(|r| r[c] != self.rows[0][c]);
        let some = |c: usize| self.rows.iter().any(|r| !r[c].is_null());
        // A row without the stage differs in the stage alone, not in everything that the stage is told.
        let varies = |c: usize| {
            let mut given = self.rows.iter().map(|r| &r[c]).filter(|v| !v.is_null());
            let first = given.next();
            given.any(|v| Some(v) != first)
        };
        let worth = |(c, (name, role)): (usize, &(String, Role))| match role {
            Role::Circumstance => false,
            Role::Label | Role::Figure => some(c),
            Role::Aside => differs(c) || (self.rows.len() == 1 && some(c)),
            Role::Parameter if name.rsplit('.').next() == Some("use") => differs(c),
            Role::Parameter | Role::Reference => varies(c),
        };
        let keep: Vec<bool> = self.columns.iter().enumerate().map(worth).collect();
        self.keep(&keep);
    }

    /// Keeps the columns whose names match (`wanted`) or do not match (otherwise) a regular expression; labels stay.
    pub fn pick(&mut self, pattern: &str, wanted: bool) -> Result<()> {
        let regex = Regex::new(pattern).map_err(|e| {
            Fault::config(format!("`{pattern}` is no regular expression: {}", last_line(&e.to_string())))
                .at(if wanted { "--columns" } else { "--drop" })
        })?;
        let fits = |(name, role): &(String, Role)| (wanted && *role == Role::Label) || regex.is_match(name) == wanted;
        let keep: Vec<bool> = self.columns.iter().map(fits).collect();
        self.keep(&keep);
        Ok(())
    }

    fn keep(&mut self, keep: &[bool]) {
        let mut flags = keep.iter();
        self.columns.retain(|_| *flags.next().unwrap_or(&true));
        for row in &mut self.rows {
            let mut flags = keep.iter();
            row.retain(|_| *flags.next().unwrap_or(&true));
        }
    }

    fn lines(&self, shown: impl Fn(&Value) -> String) -> Vec<Vec<String>> {
        let header = self.columns.iter().map(|(name, _)| name.clone()).collect();
        let rows = self.rows.iter().map(|r| r.iter().map(&shown).collect());
        std::iter::once(header).chain(rows).collect()
    }

    /// Aligned columns, one line per row.
    pub fn plain(&self) -> String {
        let words = |c: usize| c == 0 || self.rows.iter().all(|r| r[c].is_null() || r[c].is_string());
        table::plain(&self.lines(short), &words)
    }

    /// A Markdown table.
    pub fn markdown(&self) -> String {
        let escaped = |v: &Value| short(v).replace('|', "\\|");
        table::markdown(&self.lines(escaped))
    }

    /// Comma-separated values with all digits.
    pub fn csv(&self) -> String {
        table::csv(&self.lines(whole))
    }

    /// Every row as an object.
    pub fn json(&self) -> Value {
        let object = |row: &Vec<Value>| {
            let pairs = self.columns.iter().zip(row).filter(|(_, v)| !v.is_null());
            Value::Object(pairs.map(|((name, _), v)| (name.clone(), v.clone())).collect::<Map<_, _>>())
        };
        self.rows.iter().map(object).collect()
    }
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or(text).trim_start_matches("error: ")
}

/// A value with all digits.
fn whole(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A value for people: long fractions to about four digits.
pub fn short(value: &Value) -> String {
    match value.as_f64().filter(|_| value.is_f64()) {
        Some(v) if value.to_string().len() > 6 => rounded(v),
        _ => whole(value),
    }
}

fn rounded(v: f64) -> String {
    match v.abs() {
        a if a != 0.0 && !(1e-3..1e5).contains(&a) => format!("{v:.3e}"),
        a if a < 10.0 => format!("{v:.4}"),
        a if a < 100.0 => format!("{v:.2}"),
        _ => format!("{v:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn grid() -> Grid {
        let row = |run: &str, gamma: f64, quality: Value| {
            vec![
                ("run".to_owned(), Role::Label, json!(run)),
                ("dense.params".to_owned(), Role::Reference, json!(7)),
                ("size".to_owned(), Role::Aside, json!(9)),
                ("quality".to_owned(), Role::Figure, quality),
                ("plan.gamma".to_owned(), Role::Parameter, json!(gamma)),
                ("plan.use".to_owned(), Role::Parameter, json!("select.qp")),
            ]
        };
        let rows = [row("a", 0.5, json!(36.8712)), row("b", 1.0, Value::Null), row("c", 2.0, json!(4.5))];
        Grid::of(&rows, Vec::new())
    }

    #[test]
    fn only_what_differs_is_shown_and_rows_are_lines() {
        let mut grid = grid();
        assert_eq!(
            grid.columns.iter().map(|c| c.0.as_str()).collect::<Vec<_>>()[..3],
            ["run", "plan.gamma", "plan.use"]
        );
        grid.only_changed();
        assert_eq!(
            grid.plain(),
            "run  plan.gamma  quality\na           0.5    36.87\nb           1.0\nc           2.0      4.5"
        );
        assert_eq!(grid.csv(), "run,plan.gamma,quality\na,0.5,36.8712\nb,1.0,\nc,2.0,4.5\n");
        assert_eq!(grid.json()[1], json!({ "run": "b", "plan.gamma": 1.0 }));
        assert!(grid.markdown().starts_with("| run | plan.gamma | quality |"));
        let mut alone = self::grid();
        alone.rows.truncate(1);
        alone.only_changed();
        assert_eq!(alone.plain(), "run  size  quality\na       9    36.87");
    }

    #[test]
    fn a_stage_that_some_rows_lack_is_one_column() {
        let cell = |name: &str, value: Value| (name.to_owned(), Role::Parameter, value);
        let with = vec![cell("d.use", json!("distill.logits")), cell("d.steps", json!(9)), cell("p.gamma", json!(1))];
        let without = vec![cell("p.gamma", json!(2))];
        let mut grid = Grid::of(&[with, without], Vec::new());
        grid.only_changed();
        assert_eq!(grid.csv(), "d.use,p.gamma\ndistill.logits,1\n,2\n");
    }

    #[test]
    fn rows_are_sorted_and_filtered_by_value() {
        let names = |grid: &Grid| grid.rows.iter().map(|r| whole(&r[0])).collect::<Vec<_>>();
        let mut sorted = grid();
        sorted.sort("quality").unwrap();
        assert_eq!(names(&sorted), ["c", "a", "b"]);
        sorted.sort("-quality").unwrap();
        assert_eq!(names(&sorted), ["a", "c", "b"], "rows without a value stay last");
        for (filter, left) in
            [("quality<40", vec!["a", "c"]), ("plan.with.gamma>=1", vec!["b", "c"]), ("run!=a", vec!["b", "c"])]
        {
            let mut grid = grid();
            grid.filter(&Filter::parse(filter).unwrap()).unwrap();
            assert_eq!(names(&grid), left, "{filter}");
        }
        let wrong = grid().sort("qualty").unwrap_err();
        assert!(wrong.help_text().unwrap().starts_with("did you mean `quality`? columns: run,"), "{wrong}");
    }

    #[test]
    fn columns_are_picked_by_name() {
        let mut picked = grid();
        picked.pick("^plan", true).unwrap();
        assert_eq!(picked.columns.iter().map(|c| c.0.as_str()).collect::<Vec<_>>(), ["run", "plan.gamma", "plan.use"]);
        picked.pick("use", false).unwrap();
        assert_eq!(picked.columns.len(), 2);
        assert!(picked.pick("(", true).unwrap_err().to_string().contains("is no regular expression"));
    }
}
