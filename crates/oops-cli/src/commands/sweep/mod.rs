//! `oops sweep`: many pipelines over one store, and one table of what they gave.

mod collect;
mod forecast;
mod output;

use std::{collections::BTreeSet, path::Path};

use oops_core::{Class, Digest, Fault, Result, bail_if, nearest};
use oops_engine::{Job, Outcome, Selection, Session};
use oops_pipeline::{Cell, Judged, Problems, Sweep};
use oops_report::sweep::SweepTable;
use oops_stage::Registry;
use oops_store::Store;

use crate::{
    args::SweepArgs,
    observer::{Printer, seconds},
    open::{self, Answer, Stop},
    platform::{CANCEL, catch_interrupt},
    terminal::err,
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
    wall_s: f64,
}

/// Runs the command.
pub(crate) fn sweep(args: &SweepArgs, cache: Option<&Path>, registry: &Registry) -> Answer {
    let sweeps = open_all(args, registry)?;
    let store = open::store(cache)?;
    if args.preview {
        return Ok(forecast::forecast(args, &sweeps, &store)?);
    }
    catch_interrupt();
    let mut tally = Tally::default();
    let mut tables = Vec::new();
    for opened in &sweeps {
        let table = run(args, opened, &store, &mut tally)?;
        if tally.stopped(args.keep_going) {
            break;
        }
        output::say(args, &format!("\n{}", table.tables()));
        tables.push(table);
    }
    output::finish(args, &tables, &tally, sweeps.len())?;
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

fn run(args: &SweepArgs, opened: &Opened<'_>, store: &Store, tally: &mut Tally) -> Result<SweepTable> {
    let graphs = || opened.graphs.iter().map(|j| &j.graph);
    let width = graphs().flat_map(|g| &g.nodes).map(|n| n.name.len()).max().unwrap_or(0);
    let printer = Printer { to_stderr: args.output.json, quiet: args.output.quiet, news_only: true, width };
    let cells = opened.graphs.iter().enumerate();
    let jobs = cells.map(|(i, judged)| Job {
        session: Session { graph: &judged.graph, store, observer: &printer, cancel: &CANCEL },
        selection: Selection { targets: names(judged), ..Selection::default() },
        overrides: opened.cell(i).settings.iter().map(oops_pipeline::Setting::text).collect(),
    });
    let jobs: Vec<Job<'_>> = jobs.collect();
    let mut table = output::empty_table(args, opened);
    let begin = &mut |i: usize| {
        if !args.output.quiet {
            output::say(args, &format!("[{}/{}] {}", i + 1, jobs.len(), opened.cell(i).name));
        }
    };
    oops_engine::run_all(&jobs, args.keep_going, begin, &mut |i, outcome: Outcome| {
        let cell = opened.cell(i);
        tally.add(cell, &outcome);
        table.cells.push(collect::cell(cell, &opened.graphs[i], &outcome)?);
        Ok(())
    })?;
    Ok(table)
}

fn names(judged: &Judged<'_>) -> Vec<String> {
    judged.metrics.iter().map(|&i| judged.graph.nodes[i].name.clone()).collect()
}

impl Tally {
    fn add(&mut self, cell: &Cell, outcome: &Outcome) {
        self.executed.extend(outcome.executed.iter().map(|stage| format!("{}: {stage}", cell.name)));
        self.results.extend(outcome.results.values().map(|r| r.key));
        self.wall_s += outcome.wall_s;
        if let Some((_, fault)) = &outcome.failed {
            err(&format!("error: {}", fault.clone().at(cell.place())));
            self.failed.push((cell.name.clone(), fault.clone()));
        }
    }

    /// The failure that decides the exit code: an interruption, or else the first.
    fn worst(&self) -> Option<&Fault> {
        let interrupted = self.failed.iter().find(|(_, f)| f.class() == Class::Interrupted);
        interrupted.or(self.failed.first()).map(|(_, fault)| fault)
    }

    /// Whether nothing may run any more.
    fn stopped(&self, keep_going: bool) -> bool {
        self.worst().is_some_and(|f| !keep_going || f.class() == Class::Interrupted)
    }

    /// Distinct results that were in the store before.
    fn cached(&self) -> usize {
        self.results.len().saturating_sub(self.executed.len())
    }

    fn line(&self) -> String {
        let failed = if self.failed.is_empty() { String::new() } else { format!(", {} failed", self.failed.len()) };
        let (ran, cached) = (self.executed.len(), self.cached());
        format!("{ran} executed, {cached} cached{failed}, {}", seconds(self.wall_s))
    }
}
