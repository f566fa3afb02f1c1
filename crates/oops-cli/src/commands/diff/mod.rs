//! `oops diff`: what differs between two runs (or pipelines, or published plans), and what came of it.

mod figures;
mod plans;
mod stages;

use std::path::Path;

use oops_artifact::PlanFile;
use oops_core::{Fault, Result};
use oops_report::grid::Grid;
use oops_stage::Registry;
use oops_store::Store;
use serde_json::{Map, Value, json};

use crate::{
    args::{Diff, Pipeline},
    open::{self, Answer, Stop},
    recorded::{Shelf, find_run, shown},
    terminal::out,
    units::moment,
};

/// One side of the comparison.
enum Side {
    Results(Shelf),
    Plan(String, Box<PlanFile>),
}

/// A part of the comparison: a title, what was found as a table, and a line if nothing was.
struct Section {
    title: String,
    grid: Grid,
    otherwise: &'static str,
}

/// Runs the command.
pub(crate) fn diff(args: &Diff, cache: Option<&Path>, registry: &Registry) -> Answer {
    let store = open::store(cache)?;
    let (old, new) = (side(&args.old, &store, registry)?, side(&args.new, &store, registry)?);
    let (titles, sections) = match (&old, &new) {
        (Side::Results(a), Side::Results(b)) => ([a.title.clone(), b.title.clone()], of_results(a, b)?),
        (Side::Plan(a, p), Side::Plan(b, q)) => {
            let found = plans::compare(&(&p.model, &p.blocks), &(&q.model, &q.blocks))?;
            let of = Section { title: "plan".to_owned(), grid: found, otherwise: "the plans keep the same units" };
            ([a.clone(), b.clone()], vec![plans::provenance(p, q), of])
        }
        _ => {
            return Err(Fault::config("a plan file compares with a plan file")
                .help("write the plan of a run with `oops export-plan RUN STAGE --out FILE`")
                .into());
        }
    };
    if args.json {
        let tables = sections.iter().map(|s| (s.title.clone(), s.grid.json()));
        let head = [("old".to_owned(), json!(titles[0])), ("new".to_owned(), json!(titles[1]))];
        out(&Value::Object(head.into_iter().chain(tables).collect::<Map<_, _>>()).to_string());
    } else {
        out(&format!("old: {}\nnew: {}", titles[0], titles[1]));
        sections.iter().for_each(|s| out(&format!("\n{}", s.text())));
    }
    Ok(0)
}

impl Section {
    fn text(&self) -> String {
        let body = if self.grid.rows.is_empty() { self.otherwise.to_owned() } else { self.grid.plain() };
        format!("{}\n{body}", self.title)
    }
}

fn of_results(a: &Shelf, b: &Shelf) -> Result<Vec<Section>> {
    let section = |title: &str, grid, otherwise| Section { title: title.to_owned(), grid, otherwise };
    let mut sections = vec![
        section("parameters", stages::parameters(a, b), "no parameter differs"),
        section("stages", stages::stages(a, b), "every stage was made from the same and is the same"),
    ];
    for (name, grid) in plans::of_results(a, b)? {
        sections.push(Section { title: format!("plan {name}"), grid, otherwise: "the plans keep the same units" });
    }
    sections.push(section("figures", figures::figures(a, b)?, "neither has figures"));
    Ok(sections)
}

/// A plan file, a pipeline file, or a recorded run.
fn side(word: &str, store: &Store, registry: &Registry) -> std::result::Result<Side, Stop> {
    let path = Path::new(word);
    if path.extension().is_some_and(|e| e == "json") {
        return Ok(Side::Plan(word.to_owned(), Box::new(PlanFile::read(path)?)));
    }
    if path.is_file() || path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
        let mut graph = open::graph(&Pipeline { file: path.to_owned(), overrides: Vec::new() }, registry)?;
        let all = (0..graph.nodes.len()).collect();
        graph.check(&all)?;
        let shelf = Shelf::of_graph(store, word, &graph, all)?;
        return Ok(Side::Results(shelf));
    }
    let run = find_run(store, word)?;
    let set = [vec![shown(&run.log.pipeline)], run.log.overrides.clone()].concat().join(" ");
    let title = format!("run {}, {} UTC, {set}", run.id, moment(run.at_unix_us / 1_000_000));
    Ok(Side::Results(Shelf::of_run(store, &title, &run.log)?))
}

/// A table of labels.
fn table(columns: &[&str], rows: Vec<Vec<Value>>) -> Grid {
    let columns = columns.iter().map(|c| ((*c).to_owned(), oops_report::grid::Role::Label)).collect();
    Grid { columns, rows, notes: Vec::new() }
}
