//! Shows a walk: one line per stage, and a bar (on a terminal) or an occasional line (elsewhere) while a stage runs.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use oops_engine::{Event, Observer};
use oops_stage::Progress;

use crate::terminal::{err, is_colored, is_live, out};

/// Files longer than this are announced before they are digested.
const LONG: u64 = 256 << 20;
/// Time between two progress lines where there is no terminal.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// Prints what happens.
pub(crate) struct Printer {
    /// Whether lines go to stderr, because stdout is for JSON.
    pub(crate) to_stderr: bool,
    /// Whether only warnings are shown.
    pub(crate) quiet: bool,
    /// Whether results from the store are not worth a line.
    pub(crate) news_only: bool,
    /// Width of the longest instance name.
    pub(crate) width: usize,
}

impl Printer {
    fn line(&self, text: &str) {
        match (self.quiet, self.to_stderr) {
            (true, _) => {}
            (false, true) => err(text),
            (false, false) => out(text),
        }
    }
}

impl Observer for Printer {
    fn event(&self, event: &Event<'_>) {
        let width = self.width;
        match event {
            Event::Cached { .. } if self.news_only => {}
            Event::Cached { instance } => self.line(&format!("{instance:width$}  cached")),
            Event::Finished { instance, reason, wall_s } => {
                self.line(&format!("{instance:width$}  {:>8}  {reason}", seconds(*wall_s)));
            }
            Event::Reading { path, bytes } if *bytes > LONG => {
                self.line(&format!("reading {} ({:.1} GB) for the first time", path.display(), *bytes as f64 / 1e9));
            }
            Event::Waiting { instance } => self.line(&format!("{instance}: another process is at it; waiting")),
            Event::Warning { instance, message } => err(&format!("warning: {instance}: {message}")),
            Event::Started { .. } | Event::Reading { .. } => {}
        }
    }

    fn progress<'o>(&'o self, instance: &str) -> Box<dyn Progress + 'o> {
        let bar = if is_live() && !self.quiet { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        bar.set_prefix(format!("{instance:width$}", width = self.width));
        bar.set_style(style("{prefix}  {spinner} {elapsed}"));
        bar.enable_steady_tick(Duration::from_millis(200));
        let lines = (!is_live() && !self.quiet).then(|| Mutex::new(Lines::default()));
        Box::new(Shown { instance: instance.to_owned(), bar, lines })
    }
}

/// Seconds for people.
pub(crate) fn seconds(s: f64) -> String {
    match s {
        s if s < 10.0 => format!("{s:.2} s"),
        s if s < 120.0 => format!("{s:.1} s"),
        s => format!("{} min {:02} s", s as u64 / 60, s as u64 % 60),
    }
}

fn style(template: &str) -> ProgressStyle {
    let template = if is_colored() { template.replace("{bar:24}", "{bar:24.cyan}") } else { template.to_owned() };
    ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

struct Lines {
    total: u64,
    done: u64,
    unit: String,
    start: Instant,
    last: Instant,
}

impl Default for Lines {
    fn default() -> Self {
        Self { total: 0, done: 0, unit: String::new(), start: Instant::now(), last: Instant::now() }
    }
}

struct Shown {
    instance: String,
    bar: ProgressBar,
    lines: Option<Mutex<Lines>>,
}

impl Shown {
    fn with_lines(&self, f: impl FnOnce(&mut Lines)) {
        if let Some(lines) = &self.lines {
            f(&mut lines.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

impl Progress for Shown {
    fn begin(&self, total: u64, unit: &str) {
        self.bar.set_length(total);
        self.bar.set_position(0);
        self.bar.reset_eta();
        let rate = format!("{{prefix}}  {{bar:24}} {{pos}}/{{len}} {unit} · {{per_sec}} · {{eta}} left");
        self.bar.set_style(style(&rate));
        self.with_lines(|l| *l = Lines { total, unit: unit.to_owned(), ..Lines::default() });
    }

    fn advance(&self, steps: u64) {
        self.bar.inc(steps);
        self.with_lines(|l| {
            l.done += steps;
            if l.last.elapsed() >= BETWEEN_LINES && l.done < l.total {
                l.last = Instant::now();
                let (elapsed, left) = (l.start.elapsed().as_secs_f64(), (l.total - l.done) as f64 / l.done as f64);
                let left = seconds(elapsed * left);
                err(&format!("{}: {} of {} {}, {left} left", self.instance, l.done, l.total, l.unit));
            }
        });
    }

    fn warn(&self, message: &str) {
        self.bar.suspend(|| err(&format!("warning: {}: {message}", self.instance)));
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
