//! Mask gradients: per block and kind of unit, how much the loss would change.

use oops_artifact::{GradientsInfo, SUMMARY, json as files, read_gradients};
use oops_core::{Result, UnitKind};
use serde_json::json;

use super::{numbers::range, view::View};
use crate::recorded::Entry;

/// Facts and a table; RMS g squared is what the empirical Fisher information is made of.
pub(super) fn view(entry: &Entry) -> Result<View> {
    let info: GradientsInfo = files::read(entry.artifact.path(SUMMARY)?)?;
    let sequences = info.sequences.max(1) as f64;
    let mut rows = Vec::new();
    for l in 0..info.dims.blocks.len() {
        for kind in UnitKind::ALL {
            let (sums, squares) = read_gradients(&entry.artifact, l, kind)?;
            let per_sequence: Vec<f64> = squares.iter().map(|s| (s / sequences).sqrt()).collect();
            let means: Vec<f64> = sums.iter().map(|s| s.abs() / sequences).collect();
            let [least, median, most] = range(&per_sequence);
            let [_, mean, _] = range(&means);
            if !sums.is_empty() {
                rows.push(vec![json!(l), json!(kind), json!(sums.len()), least, median, most, mean]);
            }
        }
    }
    let columns = ["block", "unit", "units", "RMS g least", "RMS g median", "RMS g greatest", "|mean g| median"];
    Ok(View::default()
        .fact("sequences", info.sequences)
        .fact("tokens", info.tokens)
        .fact("mean loss (nats per token)", info.mean_loss)
        .fact("every sequence's gradients", info.per_sequence)
        .table("mask gradients g = dL/dm over sequences", &columns, rows))
}
