//! `oops sweep`: many pipelines over one store, and one table of what they gave.

mod collect;
mod forecast;
mod output;

use std::{collections::BTreeSet, path::Path, time::Instant};

use oops_core::{Class, Digest, Fault, Result, bail_if, nearest};
use oops_engine::{Job, Outcome, Selection, Session};
use oops_pipeline::{Cell, Judged, Problems, Sweep};
use oops_report::sweep::SweepTable;
use oops_stage::Registry;
use oops_store::Store;

use super::run::worst;
use crate::{
    args::SweepArgs,
    observer::{Printer, Screen},
    open::{self, Answer, Stop},
    platform::{CANCEL, catch_interrupt},
    units::seconds,
    warnings::{self, Checked},
};

/// A sweep with its checked graphs; `cells[i]` is the cell of `graphs[i]`.
struct Opened<'r> {
    sweep: Sweep,
    cells: Vec<usize>,
    graphs: Vec<Judged<'r>>,
}

impl Opened<'_> {
    fn cell(&self, i: usize) -> &Cell {
        &self.sweep.cells[self.cells[i]]
    }
}

/// What all sweeps of a command did.
#[derive(Default)]
struct Tally {
    executed: Vec<String>,
    /// Keys of all results, those that ran included.
    results: BTreeSet<Digest>,
    failed: Vec<(String, Fault)>,
    /// Warnings, each message of an instance once.
    warned: Vec<(String, String)>,
    /// Cells that were not filled, because something failed or the sweep was stopped.
    open: usize,
}

/// Runs the command.
pub(crate) fn sweep(args: &SweepArgs, cache: Option<&Path>, registry: &Registry) -> Answer {
    let sweeps = open_all(args, registry)?;
    let store = open::store(cache)?;
    let screen = Screen::open(args.output.json, args.output.quiet, args.scheduling.events.as_deref())?;
    let checked = sweeps.iter().flat_map(|opened| {
        let cells = opened.graphs.iter().enumerate();
        cells.map(|(i, judged)| Checked {
            cell: Some(opened.cell(i).name.as_str()),
            graph: &judged.graph,
            needed: judged.needed(),
        })
    });
    if let Some(code) = warnings::tell(&checked.collect::<Vec<_>>(), args.scheduling.strict, &screen) {
        return Ok(code);
    }
    if args.preview {
        return Ok(forecast::forecast(args, &sweeps, &store, &screen)?);
    }
    catch_interrupt();
    let start = Instant::now();
    let mut tally = Tally::default();
    let mut tables = Vec::new();
    for opened in &sweeps {
        let table = run(args, opened, &store, &screen, &mut tally)?;
        if tally.stopped(args.scheduling.keep_going) {
            break;
        }
        screen.say(&format!("\n{}", table.tables()));
        tables.push(table);
    }
    output::finish(args, &screen, &tables, &tally, (sweeps.len(), start.elapsed().as_secs_f64()))?;
    Ok(tally.worst().map_or(0, |fault| fault.class().exit_code()))
}

/// Everything that can be wrong in any cell is found before anything runs.
fn open_all<'r>(args: &SweepArgs, registry: &'r Registry) -> std::result::Result<Vec<Opened<'r>>, Stop> {
    let all = load_all(args, registry)?;
    for name in &args.rows {
        let names: Vec<&str> = all.iter().flat_map(|(s, _)| s.rows.iter().map(String::as_str)).collect();
        bail_if(!names.contains(&name.as_str()), || no_row(name, &names))?;
    }
    let chosen = |s: &Sweep, c: &Cell| args.rows.is_empty() || args.rows.contains(&s.rows[c.row]);
    let mut opened = Vec::new();
    for (sweep, graphs) in all {
        let kept = graphs.into_iter().enumerate().filter(|(i, _)| chosen(&sweep, &sweep.cells[*i]));
        let (cells, mut graphs): (Vec<usize>, Vec<Judged<'r>>) = kept.unzip();
        for (graph, &i) in graphs.iter_mut().zip(&cells) {
            let needed = graph.needed();
            graph.graph.check(&needed).map_err(|p| p.at(&sweep.cells[i].place()))?;
        }
        if !cells.is_empty() {
            opened.push(Opened { sweep, cells, graphs });
        }
    }
    Ok(opened)
}

/// Graphs of all cells. A flag must change a cell of some sweep; those of a pipeline file always do.
fn load_all<'r>(
    args: &SweepArgs,
    registry: &'r Registry,
) -> std::result::Result<Vec<(Sweep, Vec<Judged<'r>>)>, Problems> {
    let mut all = Vec::new();
    let mut used = vec![false; args.overrides.len()];
    for file in &args.files {
        let sweep = Sweep::open(file, &args.overrides, args.judge.as_deref())?;
        let (graphs, flags) = sweep.graphs(registry)?;
        let strict = flags.is_empty();
        used.iter_mut().enumerate().for_each(|(i, u)| *u |= strict || flags[i]);
        all.push((sweep, graphs));
    }
    match (used.iter().position(|u| !u), all.first()) {
        (Some(i), Some((sweep, _))) => Err(sweep.useless_flag(i)),
        _ => Ok(all),
    }
}

fn no_row(name: &str, names: &[&str]) -> Fault {
    let near = nearest(name, names.iter().copied()).map(|n| format!("did you mean `{n}`? ")).unwrap_or_default();
    Fault::config(format!("no row is called `{name}`")).at("--row").help(format!("{near}rows: {}", names.join(", ")))
}

fn run(args: &SweepArgs, opened: &Opened<'_>, store: &Store, screen: &Screen, tally: &mut Tally) -> Result<SweepTable> {
    let limits = args.scheduling.limits();
    let nodes = opened.graphs.iter().flat_map(|j| &j.graph.nodes);
    let width = nodes.map(|n| n.name.len()).max().unwrap_or(0);
    let count = opened.graphs.len();
    // One cell after another has a heading each; of several at a time every line says whose it is.
    let label = |i: usize| if limits.jobs > 1 { format!("[{}/{count}] ", i + 1) } else { String::new() };
    let printer = |i: usize| {
        let cell = Some(opened.cell(i).name.as_str());
        Printer { screen, news_only: true, width, cell, label: label(i) }
    };
    let printers: Vec<Printer<'_>> = (0..count).map(printer).collect();
    let cells = opened.graphs.iter().zip(&printers).enumerate();
    let jobs = cells.map(|(i, (judged, printer))| Job {
        session: Session { graph: &judged.graph, store, observer: printer, cancel: &CANCEL },
        selection: Selection { targets: names(judged), ..Selection::default() },
        overrides: opened.cell(i).settings.iter().map(oops_pipeline::Setting::text).collect(),
    });
    let jobs: Vec<Job<'_>> = jobs.collect();
    let mut table = output::empty_table(args, opened);
    let begin = &mut |i: usize| screen.news(&format!("[{}/{count}] {}", i + 1, opened.cell(i).name));
    oops_engine::run_all(&jobs, limits, begin, &mut |i, outcome: Outcome| {
        let cell = opened.cell(i);
        tally.add(cell, &outcome, screen);
        table.cells.push(collect::cell(cell, &opened.graphs[i], &outcome)?);
        Ok(())
    })?;
    Ok(table)
}

fn names(judged: &Judged<'_>) -> Vec<String> {
    judged.metrics.iter().map(|&i| judged.graph.nodes[i].name.clone()).collect()
}

impl Tally {
    fn add(&mut self, cell: &Cell, outcome: &Outcome, screen: &Screen) {
        self.executed.extend(outcome.executed.iter().map(|stage| format!("{}: {stage}", cell.name)));
        self.results.extend(outcome.results.values().map(|r| r.key));
        let new = outcome.warnings.iter().filter(|w| !self.warned.contains(w)).cloned().collect::<Vec<_>>();
        self.warned.extend(new);
        self.open += usize::from(outcome.failed.is_empty() && !outcome.open.is_empty());
        for (_, fault) in &outcome.failed {
            screen.warn(&format!("error: {}", fault.clone().at(cell.place())));
            self.failed.push((cell.name.clone(), fault.clone()));
        }
    }

    /// The failure that decides the exit code.
    fn worst(&self) -> Option<&Fault> {
        worst(self.failed.iter().map(|(_, fault)| fault))
    }

    /// Whether nothing may run any more.
    fn stopped(&self, keep_going: bool) -> bool {
        self.worst().is_some_and(|f| !keep_going || f.class() == Class::Interrupted)
    }

    /// Distinct results that were in the store before.
    fn cached(&self) -> usize {
        self.results.len().saturating_sub(self.executed.len())
    }

    /// Names of the cells in which something failed.
    fn failed_cells(&self) -> BTreeSet<&str> {
        self.failed.iter().map(|(cell, _)| cell.as_str()).collect()
    }

    fn line(&self, wall_s: f64) -> String {
        let some = |n: usize, what: &str| if n == 0 { String::new() } else { format!(", {n} {what}") };
        let (failed, open) = (some(self.failed_cells().len(), "failed"), some(self.open, "not filled"));
        let (ran, cached) = (self.executed.len(), self.cached());
        format!("{ran} executed, {cached} cached{failed}{open}, {}", seconds(wall_s))
    }
}
