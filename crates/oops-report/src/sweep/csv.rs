//! Sweeps as comma-separated values: one line per judged model, all digits.

use super::{Cell, SweepTable, figures::distinct};
use crate::table;

const SIZES: [&str; 2] = ["parameters", "decoder_parameters"];

/// All cells of some sweeps, with the columns that any of them needs.
pub fn csv(tables: &[SweepTable]) -> String {
    let domains = distinct(tables.iter().flat_map(SweepTable::domains));
    let families = distinct(tables.iter().flat_map(SweepTable::families));
    let fixed = ["sweep", "row", "column", "seed"].map(str::to_owned);
    let header = fixed
        .into_iter()
        .chain(domains.iter().flat_map(|d| [format!("perplexity {d}"), format!("dense perplexity {d}")]))
        .chain(SIZES.map(str::to_owned))
        .chain(["removed fraction", "seconds"].map(str::to_owned))
        .chain(families.iter().map(|f| format!("seconds {f}")))
        .chain(["error", "warnings"].map(str::to_owned));
    let line = |t: &SweepTable, c: &Cell| -> Vec<String> {
        let name = [t.title.clone(), t.rows[c.row].clone(), t.columns[c.column].clone()];
        let perplexities = domains.iter().flat_map(|d| {
            let dense = t.dense(d, c.column);
            [shown(c.perplexity(d)), shown(if dense.len() == 1 { dense.first().copied() } else { None })]
        });
        let sizes = SIZES.map(|s| c.sizes.get(s).and_then(|s| s.model).map(|n| n.to_string()).unwrap_or_default());
        name.into_iter()
            .chain([c.seed.map(|s| s.to_string()).unwrap_or_default()])
            .chain(perplexities)
            .chain(sizes)
            .chain([shown(c.removed_fraction), shown(c.seconds(None))])
            .chain(families.iter().map(|f| shown(c.seconds(Some(f)))))
            .chain([c.error.clone().unwrap_or_default(), warnings(c)])
            .collect()
    };
    let lines = tables.iter().flat_map(|t| t.cells.iter().map(move |c| line(t, c)));
    table::csv(&std::iter::once(header.collect()).chain(lines).collect::<Vec<_>>())
}

fn warnings(cell: &Cell) -> String {
    cell.warnings.iter().map(|(stage, message)| format!("{stage}: {message}")).collect::<Vec<_>>().join("; ")
}

fn shown(value: Option<f64>) -> String {
    value.map(|v| v.to_string()).unwrap_or_default()
}
