//! `oops completions`: scripts that complete commands and flags in a shell.

use clap::CommandFactory as _;

use crate::{
    args::{Cli, Completions},
    terminal::out,
};

/// Prints the script.
pub(crate) fn completions(args: &Completions) {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "oops", &mut script);
    out(String::from_utf8_lossy(&script).trim_end());
}
