//! Where text goes. A reader that went away (`oops … | head`) is no error.

use std::io::{self, IsTerminal as _, Write as _};

use oops_pipeline::Problems;

/// Writes a line to stdout.
pub(crate) fn out(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Writes a piece of a line to stdout, at once.
pub(crate) fn piece(text: &str) {
    let mut stdout = io::stdout();
    let _ = write!(stdout, "{text}").and_then(|()| stdout.flush());
}

/// Writes a line to stderr.
pub(crate) fn err(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Whether stderr is a person's terminal.
pub(crate) fn is_live() -> bool {
    io::stderr().is_terminal()
}

/// Whether stderr may be coloured.
pub(crate) fn is_colored() -> bool {
    is_live() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// Writes diagnostics of a pipeline to stderr.
pub(crate) fn problems(problems: &Problems) {
    // Lines in a log are searched, not read on a screen: only a terminal gets them broken.
    let width = if is_live() { 110 } else { 1000 };
    let _ = write!(io::stderr(), "{}", problems.render(is_colored(), width));
}
