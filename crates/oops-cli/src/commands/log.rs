//! `oops log`: the runs that were written down.

use std::path::Path;

use oops_core::Fault;
use oops_report::grid::{Grid, Role};
use oops_store::{LoggedRun, RunOutcome};
use serde_json::{Value, json};

use crate::{
    args::Log,
    open::{self, Answer},
    recorded::shown,
    terminal::out,
    units::{moment, seconds},
    warnings,
};

/// Runs the command.
pub(crate) fn log(args: &Log, cache: Option<&Path>) -> Answer {
    let store = open::store(cache)?;
    let mut runs = store.runs();
    if let Some(file) = &args.file {
        let file = std::fs::canonicalize(file).or_else(|_| std::path::absolute(file)).unwrap_or_else(|_| file.clone());
        runs.retain(|r| r.log.pipeline == file);
    }
    runs.truncate(args.number.unwrap_or(usize::MAX));
    if runs.is_empty() && !args.json {
        let of = args.file.as_ref().map(|f| format!(" of {}", f.display())).unwrap_or_default();
        return Err(Fault::data(format!("no run{of} is written down in {}", store.root().display()))
            .help("run one: oops run PIPELINE.yaml")
            .into());
    }
    if args.json {
        runs.iter().for_each(|run| out(&object(run).to_string()));
    } else {
        let mut grid = Grid::of(&runs.iter().map(row).collect::<Vec<_>>(), Vec::new());
        grid.only_changed();
        out(&grid.plain());
    }
    Ok(0)
}

/// A run as JSON.
pub(crate) fn object(run: &LoggedRun) -> Value {
    let outcome = run.log.outcome.as_ref();
    json!({
        "run": run.id,
        "time": moment(run.at_unix_us / 1_000_000),
        "unix_s": run.at_unix_us / 1_000_000,
        "pipeline": run.log.pipeline,
        "overrides": run.log.overrides,
        "executed": outcome.map(|o| &o.executed),
        "cached": outcome.map(|o| &o.cached),
        "failed": outcome.filter(|o| !o.failed.is_empty()).map(|o| {
            let one = |(stage, message): &(String, String)| json!({ "stage": stage, "message": message });
            o.failed.iter().map(one).collect::<Vec<_>>()
        }),
        "warnings": outcome.map(|o| warnings::json(&o.warnings)),
        "wall_s": outcome.map(|o| o.wall_s),
        "program": outcome.map(|o| &o.program),
        "revision": outcome.and_then(|o| o.revision.as_ref()),
        "keys": run.log.keys,
    })
}

/// A run as a line. Names of stages are listed while they are few.
fn row(run: &LoggedRun) -> Vec<(String, Role, Value)> {
    let of = |f: &dyn Fn(&RunOutcome) -> Value| run.log.outcome.as_ref().map_or(Value::Null, f);
    let names = |list: &[String]| match list.len() {
        0 => "–".to_owned(),
        1..=3 => list.join(","),
        n => format!("{n} stages"),
    };
    let cells = [
        ("run", json!(run.id)),
        ("time (UTC)", json!(moment(run.at_unix_us / 1_000_000))),
        ("pipeline", json!(shown(&run.log.pipeline))),
        ("ran", of(&|o| json!(names(&o.executed)))),
        ("cached", of(&|o| json!(names(&o.cached)))),
        ("failed", of(&|o| json!(o.failed_names()))),
        ("warnings", of(&|o| if o.warnings.is_empty() { Value::Null } else { json!(o.warnings.len()) })),
        ("took", of(&|o| json!(seconds(o.wall_s)))),
        ("oops", of(&|o| json!(o.program))),
        ("git", of(&|o| o.revision.as_ref().map_or(Value::Null, |r| json!(r.chars().take(9).collect::<String>())))),
        ("overrides", if run.log.overrides.is_empty() { Value::Null } else { json!(run.log.overrides.join(" ")) }),
    ];
    cells.into_iter().map(|(name, value)| (name.to_owned(), Role::Label, value)).collect()
}
