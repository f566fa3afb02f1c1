//! Reports: one table per run, joined from metrics by model; the tables of sweeps; and tables of runs.

pub mod grid;
mod protocol;
mod shown;
mod summary;
pub mod sweep;
mod table;

use oops_artifact::Artifact;
use oops_core::{Digest, Result};
use oops_stage::{AnyStage, erase};

pub use protocol::{line as protocol_line, named as named_protocol, texts as protocol_texts};
pub use shown::{ShownTable, shown};
pub use summary::Summary;
pub use table::plain;

use crate::table::markdown;

/// The stages of this crate.
pub fn stages() -> Vec<Box<dyn AnyStage>> {
    vec![erase::<Summary>()]
}

/// Renders a report as Markdown; `label` names a model by its digest, `text` a text by the digests of its parts.
pub fn render(
    artifact: &Artifact,
    label: &dyn Fn(&Digest) -> String,
    text: &dyn Fn(&[Digest]) -> String,
) -> Result<String> {
    let table = shown(artifact, text)?;
    let header = std::iter::once("model".to_owned()).chain(table.columns).collect();
    let body = table.rows.into_iter().map(|(model, cells)| std::iter::once(label(&model)).chain(cells).collect());
    let lines: Vec<Vec<String>> = std::iter::once(header).chain(body).collect();
    let notes = table.notes.iter().map(|n| format!("{n}\n"));
    Ok(std::iter::once(markdown(&lines)).chain(notes).collect::<Vec<_>>().join("\n"))
}
