//! An artifact as facts and tables, printed or as JSON.

use oops_report::grid::{Grid, Role, short};
use serde_json::{Map, Value};

/// Facts and tables.
#[derive(Default)]
pub(super) struct View {
    facts: Vec<(String, Value)>,
    tables: Vec<(String, Grid)>,
}

impl View {
    /// Adds a fact, unless it is null.
    pub(super) fn fact(mut self, name: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        if !value.is_null() {
            self.facts.push((name.to_owned(), value));
        }
        self
    }

    /// Adds a table of rows with these columns; columns without any value are left out, and a table without rows is.
    pub(super) fn table(mut self, title: &str, columns: &[&str], rows: Vec<Vec<Value>>) -> Self {
        let columns = columns.iter().map(|c| ((*c).to_owned(), Role::Label)).collect();
        let mut grid = Grid { columns, rows, notes: Vec::new() };
        grid.only_changed();
        if !grid.rows.is_empty() && !grid.columns.is_empty() {
            self.tables.push((title.to_owned(), grid));
        }
        self
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let facts: Vec<String> = self.facts.iter().map(|(name, value)| format!("{name}: {}", fact(value))).collect();
        let tables = self.tables.iter().map(|(title, grid)| format!("{title}\n{}", grid.plain()));
        let facts = (!facts.is_empty()).then(|| facts.join("\n"));
        facts.into_iter().chain(tables).collect::<Vec<_>>().join("\n\n")
    }

    /// The tables by title.
    pub(super) fn json(&self) -> Value {
        Value::Object(self.tables.iter().map(|(title, grid)| (title.clone(), grid.json())).collect::<Map<_, _>>())
    }
}

fn fact(value: &Value) -> String {
    match value {
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Array(list) => list.iter().map(fact).collect::<Vec<_>>().join(", "),
        other => short(other),
    }
}
