//! `oops data`: makes the embedded model and its texts again.

use oops_synth::{Options, build};

use crate::{
    args::Data,
    open::Answer,
    terminal::{err, out},
};

/// Runs the command.
pub(crate) fn data(args: &Data) -> Answer {
    let default = Options::default();
    let options = Options { steps: args.steps.unwrap_or(default.steps), seed: args.seed.unwrap_or(default.seed) };
    build(&args.out, &options, &mut |line| err(line))?;
    out(&format!("made {}", args.out.display()));
    Ok(0)
}
