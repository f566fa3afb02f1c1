//! Plans side by side: how many units each keeps per block, and how many of them both do.

use std::collections::BTreeSet;

use oops_artifact::{Kind, PlanFile};
use oops_core::{BlockPlan, Fault, ModelDims, Result, bail_if};
use oops_report::grid::Grid;
use serde_json::{Value, json};

use super::{Section, table};
use crate::{recorded::Shelf, show::plan_blocks};

/// Dimensions of the dense model, and what stays of it.
pub(super) type Of<'a> = (&'a ModelDims, &'a [BlockPlan]);

/// Plans that both runs have under one name and that are not the same bytes.
pub(super) fn of_results(a: &Shelf, b: &Shelf) -> Result<Vec<(String, Grid)>> {
    let mut out = Vec::new();
    for old in a.entries.iter().filter(|e| e.artifact.kind == Kind::Plan) {
        let new = b.entries.iter().find(|e| e.name == old.name && e.artifact.kind == Kind::Plan);
        let Some(new) = new.filter(|n| n.artifact.digest() != old.artifact.digest()) else { continue };
        let ((x, p), (y, q)) = (plan_blocks(&old.artifact)?, plan_blocks(&new.artifact)?);
        // Plans of models of other shapes have nothing in common; the parameters say so already.
        if let Ok(grid) = compare(&(&x.before, &p.blocks), &(&y.before, &q.blocks)) {
            out.push((old.name.clone(), grid));
        }
    }
    Ok(out)
}

/// A line per block, and one for all of them.
pub(super) fn compare(a: &Of<'_>, b: &Of<'_>) -> Result<Grid> {
    let widths = |d: &ModelDims| d.blocks.iter().map(|b| (b.query_heads, b.kv_heads, b.ffn)).collect::<Vec<_>>();
    bail_if(widths(a.0) != widths(b.0), || {
        let blocks = |d: &ModelDims| d.blocks.len();
        Fault::data(format!("the plans are for models of other shapes ({} and {} blocks)", blocks(a.0), blocks(b.0)))
            .help("only plans for blocks of the same widths compare")
    })?;
    let mut rows = Vec::new();
    let mut all = [Overlap::default(), Overlap::default(), Overlap::default()];
    for (l, (p, q)) in a.1.iter().zip(b.1).enumerate() {
        let parts = [(&p.query_heads, &q.query_heads), (&p.kv_heads, &q.kv_heads), (&p.ffn, &q.ffn)];
        let parts = parts.map(|(x, y)| Overlap::of(x, y));
        all.iter_mut().zip(&parts).for_each(|(sum, part)| sum.add(part));
        rows.push(row(json!(l), &parts));
    }
    rows.push(row(json!("all"), &all));
    if all.iter().all(|o| o.shared == o.union) {
        rows.clear();
    }
    let columns =
        ["block", "query heads", "query heads shared", "KV heads", "KV heads shared", "FFN channels", "FFN shared"];
    Ok(table(&columns, rows))
}

fn row(block: Value, parts: &[Overlap; 3]) -> Vec<Value> {
    std::iter::once(block).chain(parts.iter().flat_map(Overlap::cells)).collect()
}

/// Two sets of kept units.
#[derive(Default)]
struct Overlap {
    old: usize,
    new: usize,
    shared: usize,
    union: usize,
}

impl Overlap {
    fn of(old: &[u32], new: &[u32]) -> Self {
        let (x, y): (BTreeSet<_>, BTreeSet<_>) = (old.iter().collect(), new.iter().collect());
        Self { old: x.len(), new: y.len(), shared: (&x & &y).len(), union: (&x | &y).len() }
    }

    fn add(&mut self, other: &Self) {
        self.old += other.old;
        self.new += other.new;
        self.shared += other.shared;
        self.union += other.union;
    }

    /// Counts, and the Jaccard index |A ∩ B| / |A ∪ B|.
    fn cells(&self) -> [Value; 2] {
        let jaccard = if self.union == 0 { 1.0 } else { self.shared as f64 / self.union as f64 };
        [json!(format!("{} → {}", self.old, self.new)), json!((1000.0 * jaccard).round() / 1000.0)]
    }
}

/// What two plan files say of how they were made.
pub(super) fn provenance(a: &PlanFile, b: &PlanFile) -> Section {
    let digest = |p: &PlanFile| json!(p.model_digest.map(|d| d.short()));
    let steps = |p: &PlanFile| json!(p.made_by.iter().map(|s| s.stage.as_str()).collect::<Vec<_>>().join(", "));
    let facts = [
        ("method", json!(a.method), json!(b.method)),
        ("remove_fraction", json!(a.remove_fraction), json!(b.remove_fraction)),
        ("removed_fraction", json!(a.removed_fraction), json!(b.removed_fraction)),
        ("removed_params", json!(a.removed_params), json!(b.removed_params)),
        ("model", digest(a), digest(b)),
        ("program", json!(a.program), json!(b.program)),
        ("made by", steps(a), steps(b)),
    ];
    let mut rows: Vec<Vec<Value>> =
        facts.into_iter().filter(|(_, x, y)| x != y).map(|(name, x, y)| vec![json!(name), x, y]).collect();
    for step in &a.made_by {
        let Some(other) = b.made_by.iter().find(|s| s.instance == step.instance && s.stage == step.stage) else {
            continue;
        };
        for (key, value) in step.params.as_object().into_iter().flatten().filter(|(k, v)| other.params[*k] != **v) {
            rows.push(vec![json!(format!("{}.{key}", step.instance)), value.clone(), other.params[key].clone()]);
        }
    }
    Section {
        title: "provenance".to_owned(),
        grid: table(&["what", "old", "new"], rows),
        otherwise: "made the same way",
    }
}
