//! Warnings as commands show them: those of checks before anything runs, and those that records keep.

use std::collections::BTreeSet;

use oops_engine::{Planned, State};
use oops_pipeline::Graph;
use serde_json::{Value, json};

use crate::{observer::Screen, recorded::Entry, terminal};

/// Exit code where warnings are errors: that of a wrong pipeline.
const STRICT: u8 = 2;
/// Cells that a warning names.
const NAMED: usize = 3;

/// A checked graph, of which some nodes are needed.
pub(crate) struct Checked<'g> {
    /// The cell of a sweep that it fills.
    pub(crate) cell: Option<&'g str>,
    pub(crate) graph: &'g Graph<'g>,
    pub(crate) needed: BTreeSet<usize>,
}

/// Shows what checks warn of, each message of an instance once. With `strict`, all of it is an error, and the answer is
/// the exit code.
pub(crate) fn tell(all: &[Checked<'_>], strict: bool, screen: &Screen) -> Option<u8> {
    let mut told = BTreeSet::new();
    if strict {
        let problems = all.iter().filter_map(|c| {
            let problems = c.graph.warned(&c.needed, &mut told)?;
            Some(c.cell.map_or(problems.clone(), |name| problems.at(&format!("cell `{name}`"))))
        });
        let problems: Vec<_> = problems.collect();
        problems.iter().for_each(terminal::problems);
        return (!problems.is_empty()).then_some(STRICT);
    }
    for checked in all {
        for node in checked.needed.iter().map(|&i| &checked.graph.nodes[i]) {
            for message in &node.facts.warnings {
                if told.insert((node.name.clone(), message.clone())) {
                    screen.warning(&node.name, checked.cell, &in_cells(all, &node.name, message), message);
                }
            }
        }
    }
    None
}

/// The cells in which an instance warns so, where not all do.
fn in_cells(all: &[Checked<'_>], instance: &str, message: &String) -> String {
    let warns = |c: &&Checked<'_>| {
        let mut nodes = c.needed.iter().map(|&i| &c.graph.nodes[i]);
        nodes.any(|n| n.name == instance && n.facts.warnings.contains(message))
    };
    let cells: Vec<&str> = all.iter().filter(warns).filter_map(|c| c.cell).collect();
    if cells.len() == all.len() || cells.is_empty() {
        return String::new();
    }
    let more = cells.len().saturating_sub(NAMED);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("[{}{more}] ", cells[..cells.len().min(NAMED)].join("; "))
}

/// What a stage warns of: its check and, if its result is in the store, its record.
pub(crate) fn planned(graph: &Graph<'_>, planned: &Planned) -> Vec<String> {
    let record = if let State::Cached(found) = &planned.state { Some(&found.record) } else { None };
    oops_engine::warnings(&graph.nodes[planned.node], record)
}

/// What the results of a plan warn of; with `strict` an error, and the answer is the exit code.
pub(crate) fn tell_planned(
    graph: &Graph<'_>,
    plan: &[Planned],
    cell: Option<&str>,
    strict: bool,
    screen: &Screen,
) -> Option<u8> {
    let all = plan.iter().flat_map(|p| planned(graph, p).into_iter().map(move |m| (&graph.nodes[p.node].name, m)));
    let all: Vec<(&String, String)> = all.collect();
    let label = if strict { "an error with --strict: " } else { "" };
    all.iter().for_each(|(instance, message)| screen.warning(instance, cell, label, message));
    (strict && !all.is_empty()).then_some(STRICT)
}

/// A list as JSON.
pub(crate) fn json(all: &[(String, String)]) -> Value {
    all.iter().map(|(stage, message)| json!({ "stage": stage, "message": message })).collect()
}

/// What some results warn of, with the names of the stages that made them.
pub(crate) fn of<'e>(entries: impl IntoIterator<Item = &'e Entry>) -> Vec<(String, String)> {
    let said = |e: &'e Entry| e.record.warnings.iter().map(|message| (e.name.clone(), message.clone()));
    entries.into_iter().flat_map(said).collect()
}

/// Notes below a table whose rows refer to them by [`mark`].
pub(crate) fn notes(all: &[(String, String)]) -> Vec<String> {
    all.iter().enumerate().map(|(k, (stage, message))| format!("[{}] warning: {stage}: {message}", k + 1)).collect()
}

/// The numbers of some warnings among all, for the end of a name; nothing for none.
pub(crate) fn mark(all: &[(String, String)], own: &[(String, String)]) -> String {
    let numbers: Vec<String> =
        all.iter().enumerate().filter(|(_, w)| own.contains(w)).map(|(k, _)| (k + 1).to_string()).collect();
    if numbers.is_empty() { String::new() } else { format!(" [{}]", numbers.join(", ")) }
}

/// One line each, for what a command prints.
pub(crate) fn lines(all: &[(String, String)]) -> Vec<String> {
    all.iter().map(|(stage, message)| format!("warning: {stage}: {message}")).collect()
}

/// A number of warnings for the end of a line; nothing for none.
pub(crate) fn count(n: usize) -> String {
    match n {
        0 => String::new(),
        1 => " · 1 warning".to_owned(),
        n => format!(" · {n} warnings"),
    }
}
