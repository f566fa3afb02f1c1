//! The `oops` binary.

mod args;
mod commands;
mod docs;
mod events;
mod forecast;
mod meter;
mod observer;
mod open;
mod platform;
mod recorded;
mod registry;
mod show;
mod sources;
mod terminal;
mod units;
mod warnings;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    sync::{Mutex, PoisonError},
};

use clap::Parser as _;
use oops_core::{Class, Fault};

use crate::{args::Cli, open::Stop};

/// Where the last panic happened.
static PANIC: Mutex<Option<String>> = Mutex::new(None);

fn main() -> ExitCode {
    platform::tune_allocator();
    // A panic is reported once, as an internal fault, with its place.
    std::panic::set_hook(Box::new(|info| {
        let text = info.location().map(ToString::to_string);
        *PANIC.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }));
    let cli = Cli::parse();
    ExitCode::from(match catch_unwind(AssertUnwindSafe(|| commands::dispatch(&cli))) {
        Ok(Ok(code)) => code,
        Ok(Err(Stop::Fault(fault))) => failed(&fault),
        Ok(Err(Stop::Problems(problems))) => {
            terminal::problems(&problems);
            problems.class().exit_code()
        }
        Err(_) => failed(&Fault::internal("the program panicked").help("this is a bug of oops: please report it")),
    })
}

fn failed(fault: &Fault) -> u8 {
    terminal::err(&format!("error: {fault}"));
    let place = PANIC.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let (Class::Internal, Some(place)) = (fault.class(), place) {
        terminal::err(&format!("  panic at: {place}"));
    }
    fault.class().exit_code()
}
