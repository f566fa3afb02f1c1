//! What one cell gave: figures of its judged model from the metrics, seconds from the records.

use oops_artifact::{Kind, Metrics};
use oops_core::Result;
use oops_engine::Outcome;
use oops_pipeline::{Cell, Judged};
use oops_report::sweep::{self, Perplexity, Size};
use serde_json::{Map, Value};

use crate::{recorded::Texts, show};

/// Figures that count weights.
const SIZES: [&str; 2] = ["parameters", "decoder_parameters"];

/// The figures of a cell; of a failed one its error, and what it has got nevertheless.
pub(super) fn cell(cell: &Cell, judged: &Judged<'_>, outcome: &Outcome) -> Result<sweep::Cell> {
    let mut out = sweep::Cell { row: cell.row, column: cell.column, seed: cell.seed, ..sweep::Cell::default() };
    let errors: Vec<String> = outcome.failed.iter().map(|(_, fault)| fault.to_string()).collect();
    out.error = (!errors.is_empty()).then(|| errors.join("; "));
    let texts = Texts::of_graph(&judged.graph, &outcome.results);
    for &i in &judged.metrics {
        let Some(found) = outcome.results.get(&i) else { continue };
        let metrics = Metrics::read(&found.artifact)?;
        let row = |node: Option<usize>| metrics.models.get(judged.row_in(i, node?)?);
        let (model, dense) = (row(Some(judged.model)), row(judged.dense));
        let perplexity =
            |row: Option<&Map<String, Value>>| row.and_then(|r| r.get("perplexity")).and_then(Value::as_f64);
        let (ours, theirs) = (perplexity(model), perplexity(dense));
        if ours.or(theirs).is_some() {
            let domain = judged.graph.nodes[i].name.clone();
            out.perplexities.push(Perplexity {
                domain,
                protocol: texts.named(&metrics.protocol),
                model: ours,
                dense: theirs,
            });
        }
        for key in SIZES {
            let weights = |row: Option<&Map<String, Value>>| row.and_then(|r| r.get(key)).and_then(Value::as_u64);
            let size = Size { model: weights(model), dense: weights(dense) };
            if size.model.is_some() {
                out.sizes.insert(key.to_owned(), size);
            }
        }
    }
    out.seconds = seconds(judged, outcome);
    out.removed_fraction = removed(judged, outcome)?;
    out.warnings.clone_from(&outcome.warnings);
    Ok(out)
}

/// What the last plan behind the judged model removed.
fn removed(judged: &Judged<'_>, outcome: &Outcome) -> Result<Option<f64>> {
    let mut made = judged.graph.with_ancestors([judged.model]).into_iter().filter_map(|i| outcome.results.get(&i));
    let plan = made.rfind(|r| r.artifact.kind == Kind::Plan);
    plan.map(|r| Ok(show::plan_blocks(&r.artifact)?.0.removed_fraction)).transpose()
}

/// Wall seconds of every stage that the judged model was made by, each once, summed per family, as they were recorded
/// when the stage ran.
fn seconds(judged: &Judged<'_>, outcome: &Outcome) -> Vec<(String, f64)> {
    let mut families: Vec<(String, f64)> = Vec::new();
    for i in judged.graph.with_ancestors([judged.model]) {
        let Some(found) = outcome.results.get(&i) else { continue };
        let (family, _) = judged.graph.nodes[i].stage.name().split_once('.').unwrap_or_default();
        let wall_s = found.record.provenance.wall_s;
        match families.iter_mut().find(|(f, _)| f == family) {
            Some((_, sum)) => *sum += wall_s,
            None => families.push((family.to_owned(), wall_s)),
        }
    }
    families
}
