//! `oops table`: recorded runs of pipelines, or cells of sweeps, as one table.

use std::{collections::BTreeSet, path::Path};

use oops_artifact::Kind;
use oops_core::{Digest, Fault, Result};
use oops_pipeline::Sweep;
use oops_report::{
    grid::{Filter, Grid, Role},
    protocol_line,
};
use oops_stage::Registry;
use oops_store::{RunOutcome, Store};
use serde_json::{Map, Value, json};

use crate::{
    args::Table,
    open::{self, Answer, Stop},
    recorded::{Figure, Shelf, figures, shown},
    show,
    terminal::out,
    units::moment,
    warnings,
};

/// Name of the column that says what a row's results warn of.
const WARNINGS: &str = "warnings";

/// Named values of a row.
type Line = Vec<(String, Role, Value)>;

/// A row before it is one: what names it, and its results.
struct Row {
    labels: Vec<(&'static str, Role, Value)>,
    shelf: Shelf,
    /// The one model, beside the dense one, whose figures count; all if none is named.
    judged: Option<String>,
}

/// Runs the command.
pub(crate) fn table(args: &Table, cache: Option<&Path>, registry: &Registry) -> Answer {
    let store = open::store(cache)?;
    let filters: Vec<Filter> = args.filters.iter().map(|f| Filter::parse(f)).collect::<Result<_>>()?;
    let mut rows = Vec::new();
    for file in &args.files {
        let several = args.files.len() > 1;
        let found =
            if Sweep::is_sweep(file) { cells(file, several, &store, registry)? } else { runs(file, several, &store)? };
        rows.extend(found);
    }
    let mut grid = grid(&rows)?;
    filters.iter().try_for_each(|f| grid.filter(f))?;
    args.sort.iter().try_for_each(|by| grid.sort(by))?;
    if !args.all_columns {
        grid.only_changed();
    }
    args.columns.iter().try_for_each(|pattern| grid.pick(pattern, true))?;
    args.drop.iter().try_for_each(|pattern| grid.pick(pattern, false))?;
    print(args, grid);
    Ok(0)
}

fn print(args: &Table, mut grid: Grid) {
    if args.form.json {
        return out(&grid.json().to_string());
    }
    if args.form.csv {
        warnings_as(&mut grid, |all| all.join("; "));
        return out(grid.csv().trim_end());
    }
    let mut numbered: Vec<String> = Vec::new();
    warnings_as(&mut grid, |all| mark(all, &mut numbered));
    grid.notes.extend(numbered.iter().enumerate().map(|(k, warning)| format!("[{}] warning: {warning}", k + 1)));
    out((if args.form.md { grid.markdown() } else { grid.plain() }).trim_end());
    if !grid.notes.is_empty() {
        out(&format!("\n{}", grid.notes.join("\n")));
    }
}

/// Rewrites what stands in the column of warnings.
fn warnings_as(grid: &mut Grid, mut text: impl FnMut(&[String]) -> String) {
    let Some(column) = grid.columns.iter().position(|(name, _)| name == WARNINGS) else { return };
    for row in &mut grid.rows {
        if let Ok(all) = serde_json::from_value::<Vec<String>>(row[column].clone()) {
            row[column] = json!(text(&all));
        }
    }
}

/// The numbers of some warnings among those of all rows so far, to which new ones are added.
fn mark(own: &[String], all: &mut Vec<String>) -> String {
    let mut number = |warning: &String| {
        let known = all.iter().position(|w| w == warning);
        let at = known.unwrap_or_else(|| {
            all.push(warning.clone());
            all.len() - 1
        });
        (at + 1).to_string()
    };
    format!("[{}]", own.iter().map(&mut number).collect::<Vec<_>>().join(", "))
}

/// Recorded runs of a pipeline, newest first, each set of results once.
fn runs(file: &Path, several: bool, store: &Store) -> Result<Vec<Row>> {
    let path = std::fs::canonicalize(file).or_else(|_| std::path::absolute(file)).unwrap_or_else(|_| file.to_owned());
    let mut seen: Vec<BTreeSet<Digest>> = Vec::new();
    let mut rows = Vec::new();
    let all = store.runs();
    let of_file: Vec<_> = all.iter().filter(|r| r.log.pipeline == path).collect();
    let keys: Vec<BTreeSet<Digest>> = of_file.iter().map(|r| r.log.own_keys().into_values().collect()).collect();
    for (i, run) in of_file.iter().enumerate() {
        let part = |other: &BTreeSet<Digest>| keys[i].is_subset(other) && keys[i] != *other;
        if seen.contains(&keys[i]) || keys.iter().any(part) {
            continue;
        }
        seen.push(keys[i].clone());
        let outcome = run.log.outcome.as_ref();
        let failed = json!(outcome.and_then(RunOutcome::failed_names));
        let labels = vec![
            ("run", Role::Label, json!(run.id)),
            ("pipeline", if several { Role::Label } else { Role::Circumstance }, json!(shown(&run.log.pipeline))),
            ("time", Role::Circumstance, json!(moment(run.at_unix_us / 1_000_000))),
            ("program", Role::Circumstance, json!(outcome.map(|o| &o.program))),
            ("revision", Role::Circumstance, json!(outcome.and_then(|o| o.revision.as_ref()))),
            ("failed", Role::Label, failed),
        ];
        rows.push(Row { labels, shelf: Shelf::of_run(store, &run.id, &run.log)?, judged: None });
    }
    if rows.is_empty() {
        return Err(Fault::data(format!("no run of {} is written down in {}", file.display(), store.root().display()))
            .help(format!("run it first: oops run {}", file.display())));
    }
    Ok(rows)
}

/// The cells of a sweep with what is in the store for them.
fn cells(file: &Path, several: bool, store: &Store, registry: &Registry) -> std::result::Result<Vec<Row>, Stop> {
    let sweep = Sweep::open(file, &[], None)?;
    let (graphs, _) = sweep.graphs(registry)?;
    let mut rows = Vec::new();
    for (cell, mut judged) in sweep.cells.iter().zip(graphs) {
        let needed = judged.needed();
        judged.graph.check(&needed).map_err(|p| p.at(&cell.place()))?;
        let shelf = Shelf::of_graph(store, &cell.name, &judged.graph, needed)?;
        let column = sweep.columns.get(cell.column).filter(|c| !c.is_empty());
        let labels = vec![
            ("sweep", if several { Role::Label } else { Role::Circumstance }, json!(shown(file))),
            ("row", Role::Label, json!(sweep.rows[cell.row])),
            ("column", Role::Label, json!(column)),
            ("seed", Role::Label, json!(cell.seed)),
            ("not run", Role::Label, shelf.missing.first().map_or(Value::Null, |m| json!(m))),
        ];
        let judged = Some(judged.graph.nodes[judged.model].name.clone());
        rows.push(Row { labels, shelf, judged });
    }
    Ok(rows)
}

fn grid(rows: &[Row]) -> Result<Grid> {
    let all: Vec<Vec<Figure>> = rows.iter().map(own_figures).collect::<Result<_>>()?;
    let mut protocols = Protocols::default();
    let lines: Vec<Line> =
        rows.iter().zip(&all).map(|(row, own)| line(row, own, &all, &mut protocols)).collect::<Result<_>>()?;
    let notes = protocols.notes();
    let mut grid = Grid::of(&lines, notes);
    // One protocol per column needs no column that says which.
    let several = |name: &str| protocols.0.iter().filter(|p| name == format!("{}.protocol", p.0)).count() > 1;
    for (name, role) in &mut grid.columns {
        if name.ends_with(".protocol") {
            *role = if several(name) { Role::Figure } else { Role::Circumstance };
        }
    }
    Ok(grid)
}

fn own_figures(row: &Row) -> Result<Vec<Figure>> {
    let mut own = figures(&row.shelf)?;
    own.retain(|f| !f.made || row.judged.as_ref().is_none_or(|judged| f.model == *judged));
    Ok(own)
}

fn line(row: &Row, own: &[Figure], all: &[Vec<Figure>], protocols: &mut Protocols) -> Result<Line> {
    let mut line: Line =
        row.labels.iter().map(|(name, role, value)| ((*name).to_owned(), *role, value.clone())).collect();
    line.extend(parameters(&row.shelf).into_iter().map(|(name, value)| (name, Role::Parameter, value)));
    for figure in own {
        let same = all.iter().flatten().filter(|f| f.made && f.instance == figure.instance);
        let models: BTreeSet<&str> = same.map(|f| f.model.as_str()).collect();
        let role = match (figure.made, figure.is_main()) {
            (true, true) => Role::Figure,
            (true, false) => Role::Aside,
            (false, _) => Role::Reference,
        };
        line.push((figure.name(row.judged.is_some() || models.len() == 1), role, figure.value.clone()));
        if let Some(number) = protocols.number(figure) {
            let name = format!("{}.protocol", figure.instance);
            if !line.iter().any(|(n, ..)| *n == name) {
                line.push((name, Role::Figure, json!(number)));
            }
        }
    }
    let seconds: f64 = row.shelf.entries.iter().map(|e| e.record.provenance.wall_s).sum();
    let whole = row.shelf.missing.is_empty();
    for plan in row.shelf.entries.iter().filter(|e| e.artifact.kind == Kind::Plan) {
        let removed = show::plan_blocks(&plan.artifact)?.0.removed_fraction;
        line.push((format!("{}.removed_fraction", plan.name), Role::Figure, json!(removed)));
    }
    line.push(("seconds".to_owned(), Role::Figure, if whole { json!(seconds) } else { Value::Null }));
    let warned: Vec<String> =
        warnings::of(&row.shelf.entries).into_iter().map(|(stage, message)| format!("{stage}: {message}")).collect();
    line.push((WARNINGS.to_owned(), Role::Figure, if warned.is_empty() { Value::Null } else { json!(warned) }));
    Ok(line)
}

/// Stages and parameters of a run by `STAGE.use` and `STAGE.PARAM`.
pub(super) fn parameters(shelf: &Shelf) -> Vec<(String, Value)> {
    let mut out = Vec::new();
    for entry in &shelf.entries {
        out.push((format!("{}.use", entry.name), json!(entry.made.stage)));
        flatten(&entry.name, &entry.made.params, &mut out);
        out.extend(entry.made.seed.map(|seed| (format!("{}.seed", entry.name), json!(seed))));
    }
    out
}

fn flatten(path: &str, value: &Value, out: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, v)| flatten(&format!("{path}.{key}"), v, out)),
        leaf => out.push((path.to_owned(), leaf.clone())),
    }
}

/// Different protocols, numbered per measuring stage in the order in which rows use them.
#[derive(Default)]
struct Protocols(Vec<(String, Map<String, Value>)>);

impl Protocols {
    /// The number of a figure's protocol; none if it is not that of a perplexity.
    fn number(&mut self, figure: &Figure) -> Option<usize> {
        protocol_line(&figure.protocol)?;
        if !self.0.iter().any(|(i, p)| *i == figure.instance && *p == figure.protocol) {
            self.0.push((figure.instance.clone(), figure.protocol.clone()));
        }
        self.0.iter().filter(|(i, _)| *i == figure.instance).position(|(_, p)| *p == figure.protocol).map(|n| n + 1)
    }

    fn notes(&self) -> Vec<String> {
        let note = |(k, (instance, protocol)): (usize, &(String, Map<String, Value>))| {
            let same = |range: &[(String, Map<String, Value>)]| range.iter().filter(|(i, _)| i == instance).count();
            let number = if same(&self.0) > 1 { format!(", protocol {}", same(&self.0[..=k])) } else { String::new() };
            protocol_line(protocol).map(|l| format!("{instance}{number}: perplexity, {l}"))
        };
        let mut notes: Vec<String> = self.0.iter().enumerate().filter_map(note).collect();
        let instances: BTreeSet<&String> = self.0.iter().map(|(i, _)| i).collect();
        if instances.len() < self.0.len() {
            notes.push("figures under different protocols do not compare".to_owned());
        }
        notes
    }
}
