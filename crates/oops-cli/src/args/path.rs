//! Paths on the command line: `~`, `$NAME` and `${NAME}` in them are what they are in a pipeline file, where the shell has
//! not put them in.

use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use oops_core::Fault;

/// Reads a path by the rule of [`oops_stage::expand`]; one that is no text is taken as it is.
pub(super) fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().try_map(|given| -> Result<PathBuf, String> {
        let said =
            |fault: Fault| [Some(fault.what()), fault.help_text()].into_iter().flatten().collect::<Vec<_>>().join("; ");
        given.to_str().map_or_else(|| Ok(PathBuf::from(&given)), |text| oops_stage::expand(text).map_err(said))
    })
}
