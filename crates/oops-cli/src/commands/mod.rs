//! One file per command.

mod completions;
mod dag;
mod data;
mod diff;
mod export_plan;
mod log;
mod run;
mod schema;
mod show;
mod stages;
mod status;
mod sweep;
mod table;
mod verify;

use crate::{
    args::{Cli, Command},
    open::Answer,
    registry::registry,
};

/// Runs the command and returns its exit code.
pub(crate) fn dispatch(cli: &Cli) -> Answer {
    let registry = registry()?;
    let cache = cli.cache.as_deref();
    match &cli.command {
        Command::Run(args) => run::run(args, cache, &registry),
        Command::Sweep(args) => sweep::sweep(args, cache, &registry),
        Command::Status(args) => status::status(args, cache, &registry),
        Command::Dag(args) => dag::dag(args, &registry),
        Command::Show(args) => show::show(args, cache, &registry),
        Command::Log(args) => log::log(args, cache),
        Command::Table(args) => table::table(args, cache, &registry),
        Command::Diff(args) => diff::diff(args, cache, &registry),
        Command::ExportPlan(args) => export_plan::export_plan(args, cache, &registry),
        Command::Schema(args) => schema::schema(args, &registry),
        Command::Completions(args) => {
            completions::completions(args);
            Ok(0)
        }
        Command::Verify => verify::verify(cache),
        Command::Data(args) => data::data(args),
        Command::Stages(args) => stages::stages(args, &registry),
    }
}
