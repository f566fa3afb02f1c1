//! `oops status --explain`: what changed for a stage, as a tree down to the root causes; how a result was made.

use oops_core::Digest;
use oops_engine::{Cause, Explained, Input, Upstream};
use oops_pipeline::Graph;
use oops_store::Record;
use serde_json::Value;

use crate::units::{moment, seconds, size};

/// Longest value of a measured figure that is printed whole.
const LONG: usize = 100;

/// The explanation of one stage.
pub(crate) fn text(graph: &Graph<'_>, explained: &Explained) -> String {
    let mut lines = vec![format!("{} {}", head(graph, explained), verdict(explained))];
    causes(graph, explained, 1, &mut lines);
    if let Some(record) = &explained.record {
        lines.extend(made(explained, record));
    }
    lines.join("\n")
}

fn head(graph: &Graph<'_>, explained: &Explained) -> String {
    let node = &graph.nodes[explained.node];
    format!("{} ({})", node.name, node.stage.name())
}

fn verdict(explained: &Explained) -> &'static str {
    match (explained.record.is_some(), explained.repeated, explained.known, explained.causes.is_empty()) {
        (_, true, ..) => "see above",
        (true, _, true, false) => "is in the store; since the last run changed:",
        (true, ..) => "is in the store",
        (false, _, true, true) => "would run: its result is damaged or no longer in the store",
        (false, _, true, false) => "would run; since the last run changed:",
        (false, _, false, true) => "would run: it never ran in this pipeline",
        (false, _, false, false) => "would run: it never ran in this pipeline; it waits for:",
    }
}

fn causes(graph: &Graph<'_>, explained: &Explained, depth: usize, lines: &mut Vec<String>) {
    let indent = "  ".repeat(depth);
    for cause in &explained.causes {
        match cause {
            Cause::Field(change) => lines.push(format!("{indent}{change}")),
            Cause::File { name, path, old, new } => {
                let at = path.as_ref().map(|p| format!(" ({})", p.display())).unwrap_or_default();
                let [old, new] = [old, new].map(|d| d.map_or_else(|| "no such file".to_owned(), |d| d.short()));
                lines.push(format!("{indent}file {name}: {old} → {new}{at}"));
            }
            Cause::Input(input) => {
                lines.push(format!("{indent}{}", change(input)));
                // An input that is in the store and is what it was needs no reason.
                if let Some(why) = input.why.as_deref().filter(|why| !(why.record.is_some() && why.causes.is_empty())) {
                    lines.push(format!("{indent}  {} {}", head(graph, why), verdict(why)));
                    causes(graph, why, depth + 2, lines);
                }
            }
        }
    }
}

fn change(input: &Input) -> String {
    let Input { port, was, now, .. } = input;
    let place = input.place.map(|k| format!("[{k}]")).unwrap_or_default();
    let shown = |u: &Upstream| {
        let digest = u.digest.map_or_else(|| "still to be made".to_owned(), |d: Digest| d.short());
        u.name.as_ref().map_or_else(|| digest.clone(), |name| format!("{name}, {digest}"))
    };
    match (was, now) {
        (None, Some(now)) => format!("input {port}{place}: {}", shown(now)),
        (Some(was), None) => format!("input {port}{place}: {} → none", shown(was)),
        (Some(was), Some(now)) => format!("input {port}{place}: {} → {}", shown(was), shown(now)),
        (None, None) => format!("input {port}{place}"),
    }
}

/// How a result was made.
fn made(explained: &Explained, record: &Record) -> Vec<String> {
    let by = &record.provenance;
    let revision = by.revision.as_ref().map(|r| format!(", revision {}", r.get(..12).unwrap_or(r))).unwrap_or_default();
    let vectors = by.vectors.as_ref().map(|v| format!(" and {v}")).unwrap_or_default();
    let bytes: u64 = record.files.values().map(|f| f.bytes).sum();
    let mut lines = vec![
        format!("  key       {}", explained.key),
        format!("  made      {} UTC, as `{}`", moment(by.started_unix_s), by.instance),
        format!("  by        oops {}{revision}, on {} with {} threads{vectors}", by.program, by.host, by.threads),
        format!("  took      {}", seconds(by.wall_s)),
        format!("  size      {} files, {}", record.files.len(), size(bytes)),
    ];
    let figure = |(name, value): (&String, &Value)| {
        let text = value.to_string();
        let shown =
            if text.len() > LONG { format!("{}…", text.chars().take(LONG).collect::<String>()) } else { text };
        format!("  measured  {name}: {shown}")
    };
    lines.extend(record.measured.iter().map(figure));
    lines.extend(record.warnings.iter().map(|message| format!("  warning   {message}")));
    lines
}
