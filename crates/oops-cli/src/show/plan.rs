//! Plans: widths before and after, block by block.

use oops_artifact::{Artifact, PlanInfo, SUMMARY, json as files};
use oops_core::{BlockDims, Result};
use serde_json::{Value, json};

/// The plan and how it came about, as JSON.
pub(crate) fn json(artifact: &Artifact) -> Result<String> {
    let info: Value = files::read(artifact.path(SUMMARY)?)?;
    let plan: Value = files::read(artifact.path("plan.json")?)?;
    Ok(super::compact::compact(&json!({ "summary": info, "plan": plan })))
}

/// A table of widths.
pub(crate) fn text(artifact: &Artifact) -> Result<String> {
    let info: PlanInfo = files::read(artifact.path(SUMMARY)?)?;
    let row = |(l, (b, a)): (usize, (&BlockDims, &BlockDims))| {
        let width = |before: usize, after: usize| format!("{before} → {after}");
        vec![l.to_string(), width(b.query_heads, a.query_heads), width(b.kv_heads, a.kv_heads), width(b.ffn, a.ffn)]
    };
    let rows: Vec<_> = info.before.blocks.iter().zip(&info.after.blocks).enumerate().map(row).collect();
    let table = super::table(&["block", "query heads", "KV heads", "FFN channels"], &rows);
    Ok(format!(
        "{table}\n\n{}: {:.2} % of the decoder's weights asked for, {:.2} % removed ({} of {})",
        info.method,
        100.0 * info.remove_fraction,
        100.0 * info.removed_fraction,
        info.removed_params,
        info.before.decoder_params(),
    ))
}
