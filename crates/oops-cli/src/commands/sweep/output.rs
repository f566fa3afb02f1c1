//! Where a sweep's tables go.

use std::{collections::BTreeSet, fs, path::Path};

use oops_core::{Class, Fault, Result};
use oops_report::sweep::{SweepTable, csv};
use serde_json::{Value, json};

use super::{Opened, Tally};
use crate::{args::SweepArgs, observer::Screen, platform, terminal::out, warnings};

/// A table without cells.
pub(super) fn empty_table(args: &SweepArgs, opened: &Opened<'_>) -> SweepTable {
    let sweep = &opened.sweep;
    let seeds: BTreeSet<u64> = opened.graphs.iter().map(|j| j.graph.seed).collect();
    let seeds = seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let spread = if sweep.seeds.len() > 1 { ": median (least–greatest)" } else { "" };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cpu = platform::cpu_name().map(|name| format!(", {name}")).unwrap_or_default();
    let circumstances = [
        ("command", format!("`{}`", command(args, &sweep.file))),
        ("seeds", format!("{seeds}{spread}")),
        ("machine", format!("{cores} cores{cpu}")),
        ("oops", env!("CARGO_PKG_VERSION").to_owned()),
        ("seconds", "wall time of the stages behind one model, each once, as recorded when it ran".to_owned()),
    ];
    SweepTable {
        title: sweep.file.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        about: sweep.about.clone(),
        circumstances: circumstances.map(|(what, value)| (what.to_owned(), value)).to_vec(),
        columns: sweep.columns.clone(),
        rows: sweep.rows.clone(),
        cells: Vec::new(),
    }
}

/// The command that makes a table. Absolute paths say nothing on another machine; only their last part is kept.
fn command(args: &SweepArgs, file: &Path) -> String {
    let word = |text: &str| {
        let (key, value) = text.split_once('=').unwrap_or(("", text));
        let value = match Path::new(value).file_name() {
            Some(name) if Path::new(value).is_absolute() => format!("…/{}", name.to_string_lossy()),
            _ => value.to_owned(),
        };
        let text = if key.is_empty() { value } else { format!("{key}={value}") };
        if text.contains([' ', '\'', '"', '&', '|']) { format!("'{text}'") } else { text }
    };
    let rows = args.rows.iter().map(|r| format!(" --row {}", word(r)));
    let judge = args.judge.iter().map(|j| format!(" --judge {j}"));
    let set = args.overrides.iter().map(|o| format!(" --set {}", word(o)));
    let options: String = rows.chain(judge).chain(set).collect();
    format!("oops sweep {}{options}", word(&file.display().to_string()))
}

/// Writes files, prints the last lines. Files are written only if every sweep has its table.
pub(super) fn finish(
    args: &SweepArgs,
    screen: &Screen,
    tables: &[SweepTable],
    tally: &Tally,
    (sweeps, wall_s): (usize, f64),
) -> Result<()> {
    if tables.len() == sweeps {
        let sections = || tables.iter().map(SweepTable::section).collect::<Vec<_>>().join("\n");
        args.output.markdown.iter().try_for_each(|path| write(path, &format!("# Results\n\n{}", sections())))?;
        args.output.csv.iter().try_for_each(|path| write(path, &csv(tables)))?;
    }
    screen.news(&tally.line(wall_s));
    if let Some(fault) = tally.worst() {
        match fault.class() {
            Class::Interrupted => screen.warn("  everything that was finished is kept"),
            _ if args.scheduling.keep_going => {}
            _ => screen.warn(
                "  finished stages are kept; run the same command again to go on, or with --keep-going past failed cells",
            ),
        }
    }
    let sums = json!({
        "executed": tally.executed, "cached": tally.cached(), "failed": tally.failed_cells(),
        "warnings": warnings::json(&tally.warned), "wall_s": wall_s,
    });
    screen.event("end", None, sums.clone());
    if args.output.json {
        let mut summary = json!({ "sweeps": tables.iter().map(SweepTable::json).collect::<Vec<_>>() });
        if let (Value::Object(summary), Value::Object(sums)) = (&mut summary, sums) {
            summary.extend(sums);
        }
        out(&summary.to_string());
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    let failed = |e: &std::io::Error| Fault::store(format!("cannot write: {e}")).at(path.display());
    if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(|e| failed(&e))?;
    }
    // Whole or not at all: a reader never sees half a table.
    let part = path.with_extension("part");
    fs::write(&part, text).and_then(|()| fs::rename(&part, path)).map_err(|e| failed(&e))
}
