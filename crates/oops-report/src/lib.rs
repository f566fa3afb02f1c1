//! Reports: one table per run, joined from metrics by model.

mod summary;

use oops_artifact::{Artifact, ReportTable};
use oops_core::{Digest, Result};
use oops_stage::{AnyStage, erase};

pub use summary::Summary;

/// The stages of this crate.
pub fn stages() -> Vec<Box<dyn AnyStage>> {
    vec![erase::<Summary>()]
}

/// Renders a report as Markdown; `label` names a model by its digest.
pub fn render(artifact: &Artifact, label: &dyn Fn(&Digest) -> String) -> Result<String> {
    let table = ReportTable::read(artifact)?;
    let header = std::iter::once("model".to_owned()).chain(table.columns.clone()).collect();
    let body = table.rows.iter().map(|(model, cells)| std::iter::once(label(model)).chain(cells.clone()).collect());
    let lines: Vec<Vec<String>> = std::iter::once(header).chain(body).collect();
    let notes = table.notes.iter().map(|n| format!("{n}\n"));
    Ok(std::iter::once(markdown(&lines)).chain(notes).collect::<Vec<_>>().join("\n"))
}

/// A Markdown table with aligned columns: text left, everything else right.
fn markdown(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |c: usize| lines.iter().map(|l| l[c].chars().count()).max().unwrap_or(0).max(3);
    let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let rule: Vec<String> =
        (0..columns).map(|c| if c == 0 { "-".repeat(width(c)) } else { "-".repeat(width(c) - 1) + ":" }).collect();
    let pad = |line: &Vec<String>| -> Vec<String> {
        let cell = |(c, text): (usize, &String)| {
            let gap = " ".repeat(width(c) - text.chars().count());
            if c == 0 { format!("{text}{gap}") } else { format!("{gap}{text}") }
        };
        line.iter().enumerate().map(cell).collect()
    };
    let mut out = row(pad(&lines[0]));
    out.push_str(&row(rule));
    lines[1..].iter().for_each(|l| out.push_str(&row(pad(l))));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let line = |cells: &[&str]| cells.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>();
        let text = markdown(&[line(&["model", "ppl"]), line(&["dense", "19.92"])]);
        assert_eq!(text, "| model |   ppl |\n| ----- | ----: |\n| dense | 19.92 |\n");
    }
}
