//! Progress over bytes of a command that is no stage.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    terminal::{err, is_live},
    units::size,
};

/// Time between two progress lines where there is no terminal.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// Shows how far a command is: a bar on a terminal, elsewhere a line now and then.
pub(crate) struct Meter {
    what: &'static str,
    bar: ProgressBar,
    last: Instant,
}

impl Meter {
    pub(crate) fn new(what: &'static str) -> Self {
        let bar = if is_live() { ProgressBar::new(0) } else { ProgressBar::hidden() };
        bar.set_prefix(what);
        let style =
            ProgressStyle::with_template("{prefix}  {bar:24} {bytes}/{total_bytes} · {bytes_per_sec} · {eta} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { what, bar, last: Instant::now() }
    }

    /// So many bytes are done, of so many.
    pub(crate) fn at(&mut self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
        if !is_live() && self.last.elapsed() >= BETWEEN_LINES && done < total {
            self.last = Instant::now();
            err(&format!("{}: {} of {}", self.what, size(done), size(total)));
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
