//! Scores: how they spread in every block, and how many units are protected.

use oops_artifact::{Scores, UnitScores};
use oops_core::{Result, UnitKind};
use serde_json::{Value, json};

use super::{numbers::range, view::View};
use crate::recorded::Entry;

/// Facts and a table.
pub(super) fn view(entry: &Entry) -> Result<View> {
    let Scores { info, blocks } = Scores::read(&entry.artifact)?;
    let row = |l: usize, kind: UnitKind, units: &UnitScores| {
        let [least, median, most] = range(&units.score);
        let protected = units.protected.iter().filter(|p| **p).count();
        let share = info.outlier_share.as_ref().and_then(|s| s.get(l)).map_or(Value::Null, |v| json!(v));
        vec![json!(l), json!(kind), json!(units.score.len()), json!(protected), least, median, most, share]
    };
    let rows = blocks.iter().enumerate();
    let rows =
        rows.flat_map(|(l, b)| [row(l, info.attention_unit, &b.attention), row(l, UnitKind::FfnChannel, &b.ffn)]);
    let columns = ["block", "unit", "units", "protected", "least", "median", "greatest", "OWL share"];
    Ok(View::default()
        .fact("method", info.method.as_str())
        .fact(
            "scale",
            match info.scale {
                oops_artifact::Scale::Standardized => "standardised per block and kind",
                oops_artifact::Scale::Damage => "damage, compared per weight that goes",
            },
        )
        .table("scores (higher = keep)", &columns, rows.collect()))
}
