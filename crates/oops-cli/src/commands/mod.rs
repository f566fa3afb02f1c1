//! One file per command.

mod bench;
mod cache_file;
mod completions;
mod dag;
mod data;
mod diff;
mod explain;
mod export_plan;
mod gc;
mod generate;
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
    sources::registry,
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
        Command::Generate(args) => generate::generate(args, cache, &registry),
        Command::Verify => verify::verify(cache),
        Command::Gc(args) => gc::gc(args, cache),
        Command::ExportCache(args) => cache_file::export(args, cache, &registry),
        Command::ImportCache(args) => cache_file::import(args, cache),
        Command::Bench(args) => bench::bench(args, &registry),
        Command::Data(args) => data::data(args),
        Command::Stages(args) => stages::stages(args, &registry),
    }
}
