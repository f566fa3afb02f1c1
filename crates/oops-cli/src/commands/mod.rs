//! One file per command.

mod dag;
mod data;
mod generate;
mod run;
mod show;
mod stages;
mod status;
mod sweep;
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
        Command::Generate(args) => generate::generate(args, cache, &registry),
        Command::Verify => verify::verify(cache),
        Command::Data(args) => data::data(args),
        Command::Stages(args) => stages::stages(args, &registry),
    }
}
