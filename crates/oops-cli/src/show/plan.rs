//! Plans: widths before and after, block by block, and what the method reports.

use oops_artifact::{Artifact, PlanInfo, SUMMARY, json as files};
use oops_core::{Plan, Result};
use serde_json::{Map, Value, json};

use super::view::View;

/// The plan and how it came about.
pub(super) fn files(artifact: &Artifact) -> Result<Map<String, Value>> {
    let info: Value = files::read(artifact.path(SUMMARY)?)?;
    let plan: Value = files::read(artifact.path("plan.json")?)?;
    Ok(Map::from_iter([("summary".to_owned(), info), ("plan".to_owned(), plan)]))
}

/// The dimensions and the plan of an artifact.
pub(crate) fn blocks(artifact: &Artifact) -> Result<(PlanInfo, Plan)> {
    let info: PlanInfo = files::read(artifact.path(SUMMARY)?)?;
    let plan = oops_artifact::read_plan(artifact, &info.before)?;
    Ok((info, plan))
}

/// A table of widths, beside what the method says of each block; and what it says of all.
pub(super) fn view(artifact: &Artifact) -> Result<View> {
    let info: PlanInfo = files::read(artifact.path(SUMMARY)?)?;
    let blocks = info.before.blocks.len();
    let per_block = per_block(&info.details, blocks);
    let mut columns = vec!["block", "query heads", "KV heads", "FFN channels", "weights kept"];
    columns.extend(per_block.iter().map(|(name, _)| name.as_str()));
    let row = |l: usize| {
        let (b, a) = (&info.before.blocks[l], &info.after.blocks[l]);
        let width = |before: usize, after: usize| json!(format!("{before} → {after}"));
        let kept = 100.0 * info.after.block_params(l) as f64 / info.before.block_params(l).max(1) as f64;
        let widths = [width(b.query_heads, a.query_heads), width(b.kv_heads, a.kv_heads), width(b.ffn, a.ffn)];
        let said = per_block.iter().map(|(_, list)| list[l].clone());
        [json!(l)].into_iter().chain(widths).chain([json!(format!("{kept:.1} %"))]).chain(said).collect()
    };
    let view =
        View::default().table("widths", &columns, (0..blocks).map(row).collect()).fact("method", info.method.as_str());
    let view = view.fact(
        "removed",
        format!(
            "{:.2} % of the decoder's weights asked for, {:.2} % removed ({} of {})",
            100.0 * info.remove_fraction,
            100.0 * info.removed_fraction,
            info.removed_params,
            info.before.decoder_params(),
        ),
    );
    Ok(details(view, &info.details, blocks))
}

/// Lists with one number per block; a method may report nothing but one.
fn per_block(details: &Value, blocks: usize) -> Vec<(String, Vec<Value>)> {
    let list = |v: &Value| v.as_array().filter(|l| l.len() == blocks && l.iter().all(Value::is_number)).cloned();
    if let Some(own) = list(details) {
        return vec![("kept before rounding".to_owned(), own)];
    }
    let all = details.as_object().into_iter().flatten();
    all.filter_map(|(name, v)| Some((name.replace('_', " "), list(v)?))).collect()
}

/// Everything else: single values as facts, lists of records as tables.
fn details(mut view: View, details: &Value, blocks: usize) -> View {
    for (name, value) in details.as_object().into_iter().flatten() {
        let title = name.replace('_', " ");
        let records: Vec<&Map<String, Value>> =
            value.as_array().into_iter().flatten().filter_map(Value::as_object).collect();
        view = if let Some(first) = records.first() {
            let columns: Vec<&str> = first.keys().map(String::as_str).collect();
            let cell = |r: &Map<String, Value>, c: &str| r.get(c).cloned().unwrap_or_default();
            let rows = records.iter().map(|r| columns.iter().map(|c| cell(r, c)).collect()).collect();
            view.table(&title, &columns, rows)
        } else if value.as_array().is_some_and(|l| l.is_empty() || l.len() == blocks) {
            view
        } else {
            view.fact(&title, value.clone())
        };
    }
    view
}
