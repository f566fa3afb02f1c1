//! Artifacts for people and as JSON, by kind.

mod compact;
mod metrics;
mod plan;
mod summary;

use std::collections::BTreeMap;

use oops_artifact::{Kind, ReportTable};
use oops_core::{Digest, Fault, Result};
use oops_engine::Resolved;
use oops_pipeline::Graph;
use serde::Serialize;

/// The artifact of node `i` for people.
pub(crate) fn text(graph: &Graph<'_>, results: &BTreeMap<usize, Resolved>, i: usize) -> Result<String> {
    let found = resolved(results, i)?;
    match graph.nodes[i].stage.output() {
        Kind::Metrics => metrics::text(graph, found, i),
        Kind::Plan => plan::text(&found.artifact),
        Kind::Report => oops_report::render(&found.artifact, &|digest| label(graph, results, digest)),
        _ => summary::json(found),
    }
}

/// The artifact of node `i` as JSON.
pub(crate) fn json(graph: &Graph<'_>, results: &BTreeMap<usize, Resolved>, i: usize) -> Result<String> {
    let found = resolved(results, i)?;
    match graph.nodes[i].stage.output() {
        Kind::Metrics => metrics::json(graph, found, i),
        Kind::Plan => plan::json(&found.artifact),
        Kind::Report => line(&ReportTable::read(&found.artifact)?),
        _ => summary::json(found),
    }
}

/// Name of the first instance whose result has this digest.
fn label(graph: &Graph<'_>, results: &BTreeMap<usize, Resolved>, digest: &Digest) -> String {
    let found = results.iter().find(|(_, r)| r.artifact.digest() == *digest);
    found.map_or_else(|| digest.short(), |(&i, _)| graph.nodes[i].name.clone())
}

fn resolved(results: &BTreeMap<usize, Resolved>, i: usize) -> Result<&Resolved> {
    results.get(&i).ok_or_else(|| Fault::internal("the stage has no result"))
}

/// A value as one line of JSON.
pub(crate) fn line(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Fault::internal(format!("JSON: {e}")))
}

/// A table with aligned columns; the first is left-aligned, the others right-aligned.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |c: usize| {
        let cells = rows.iter().filter_map(|r| r.get(c)).map(|cell| cell.chars().count());
        cells.chain([header[c].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).enumerate();
        let padded = padded.map(|(c, (cell, &w))| if c == 0 { format!("{cell:w$}") } else { format!("{cell:>w$}") });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let body = rows.iter().map(|r| line(r.iter().map(String::as_str).collect()));
    std::iter::once(line(header.to_vec())).chain(body).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = vec![vec!["dense".to_owned(), "4.5".to_owned()], vec!["p".to_owned(), "12.25".to_owned()]];
        assert_eq!(table(&["model", "ppl"], &rows), "model    ppl\ndense    4.5\np      12.25");
    }
}
