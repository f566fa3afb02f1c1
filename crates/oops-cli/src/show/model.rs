//! Models: widths, how each module was repaired, and how training went.

use oops_core::{ModelDims, Result};
use serde_json::{Map, Value, json};

use super::view::View;
use crate::recorded::Entry;

/// Facts, a table of widths, and what the stage that made the model reports.
pub(super) fn view(entry: &Entry) -> Result<View> {
    let summary = super::summary(entry)?;
    // A model from outside says nothing but its dimensions.
    let own = summary.get("dims").cloned().unwrap_or_else(|| Value::Object(summary.clone()));
    let dims: ModelDims = serde_json::from_value(own)
        .map_err(|e| oops_core::Fault::data(format!("`{}` does not say its dimensions: {e}", entry.name)))?;
    let said = |name: &str| summary.get(name).filter(|v| v.is_string()).cloned().unwrap_or_default();
    let tokens =
        summary.get("tokens").map_or(Value::Null, |t| json!(format!("{} to fit, {} held out", t["fit"], t["heldout"])));
    let view = View::default()
        .fact("method", said("method"))
        .fact("fitted on", said("stream"))
        .fact("target", said("target"))
        .fact("target of whole FFNs", said("joint_target"))
        .fact("tokens", tokens)
        .fact("hidden width", dims.hidden)
        .fact("vocabulary", format!("{}{}", dims.vocab, if dims.tied { ", tied" } else { "" }))
        .fact("blocks", dims.blocks.len())
        .fact("decoder weights", dims.decoder_params())
        .fact("KV bytes per token (f16)", dims.kv_bytes_per_token(2));
    let view = widths(view, &dims);
    let view = records(view, &summary, "modules", "repairs (relative squared error)", &MODULES);
    let view = refined(view, &summary);
    let view =
        records(view, &summary, "blocks", "distillation, block by block (relative error on held-out tokens)", &BLOCKS);
    Ok(training(view, summary.get("training")))
}

/// Title and key of each column; a dotted curve is shown as its held-out values.
type Columns = [(&'static str, &'static str)];

const MODULES: [(&str, &str); 9] = [
    ("block", "block"),
    ("site", "site"),
    ("channels", "channels"),
    ("error, plain cut", "error_cut"),
    ("error, repaired", "error_repaired"),
    ("λ", "damping"),
    ("condition", "condition"),
    ("tried", "tried"),
    ("status", "status"),
];

const BLOCKS: [(&str, &str); 8] = [
    ("block", "block"),
    ("status", "status"),
    ("before", "error_before"),
    ("after", "error_after"),
    ("learning rate", "learning_rate"),
    ("attempts", "attempts"),
    ("best step", "best_step"),
    ("curve", "curve"),
];

/// FFNs whose three projections were fitted together.
fn refined(view: View, summary: &Map<String, Value>) -> View {
    let modules = summary.get("modules").and_then(Value::as_array).into_iter().flatten();
    let row = |m: &Value| {
        let r = m.get("refined")?;
        let iterations = r["iterates"].as_array()?.iter().filter_map(Value::as_array).map(Vec::len).sum::<usize>();
        Some(vec![m["block"].clone(), r["error_before"].clone(), r["error_after"].clone(), json!(iterations)])
    };
    let rows = modules.filter_map(row).collect();
    view.table(
        "FFNs fitted as a whole (relative squared error on held-out tokens)",
        &["block", "after ridge", "after", "iterations"],
        rows,
    )
}

/// Blocks next to each other that are alike share a line.
fn widths(view: View, dims: &ModelDims) -> View {
    let mut rows: Vec<Vec<Value>> = Vec::new();
    let mut from = 0;
    for l in 0..dims.blocks.len() {
        if dims.blocks.get(l + 1) == Some(&dims.blocks[l]) {
            continue;
        }
        let b = dims.blocks[l];
        let which = if from == l { json!(l) } else { json!(format!("{from}–{l}")) };
        rows.push(vec![
            which,
            json!(b.query_heads),
            json!(b.kv_heads),
            json!(b.head_dim),
            json!(b.ffn),
            json!(dims.block_params(l)),
        ]);
        from = l + 1;
    }
    view.table(
        "widths",
        &["block", "query heads", "KV heads", "channels per head", "FFN channels", "weights per block"],
        rows,
    )
}

fn records(view: View, summary: &Map<String, Value>, key: &str, title: &str, columns: &Columns) -> View {
    let list = summary.get(key).and_then(Value::as_array).into_iter().flatten().filter(|r| r.is_object());
    let rows = list.map(|r| columns.iter().map(|(_, key)| cell(key, &r[*key])).collect()).collect();
    view.table(title, &columns.iter().map(|(title, _)| *title).collect::<Vec<_>>(), rows)
}

fn cell(key: &str, value: &Value) -> Value {
    let list = value.as_array();
    match (key, list) {
        ("channels", Some(l)) if l.len() == 2 => json!(format!("{} → {}", l[0], l[1])),
        ("tried", Some(l)) => json!(l.len()),
        ("curve", Some(l)) => json!(curve(l)),
        _ => value.clone(),
    }
}

/// Held-out errors of at most five points of a curve, first and last among them.
fn curve(points: &[Value]) -> String {
    const SHOWN: usize = 5;
    let last = points.len().saturating_sub(1);
    let mut picked: Vec<usize> = (0..SHOWN).map(|k| k * last / (SHOWN - 1)).collect();
    picked.dedup();
    let values = picked.iter().filter_map(|&i| points.get(i)?.get("heldout_error")?.as_f64());
    values.map(|v| format!("{v:.4}")).collect::<Vec<_>>().join(" ")
}

/// Training of the whole model on the dense model's distributions.
fn training(view: View, training: Option<&Value>) -> View {
    let Some(training) = training else { return view };
    let said = |key: &str| training[key].clone();
    let points = training["curve"].as_array().into_iter().flatten();
    let rows = points.map(|p| vec![p["step"].clone(), p["loss"].clone(), p["heldout_divergence"].clone()]).collect();
    view.fact("status", said("status"))
        .fact("divergence before (nats per held-out token)", said("divergence_before"))
        .fact("divergence after", said("divergence_after"))
        .fact("learning rate", said("learning_rate"))
        .fact(
            "steps",
            format!("{} of {}, best {}", training["steps"], training["steps_planned"], training["best_step"]),
        )
        .table("training", &["step", "loss", "held-out divergence"], rows)
}
