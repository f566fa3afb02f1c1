//! Shows walks: a line per stage; while stages run, a bar each on a terminal, an occasional line elsewhere; all of it as
//! events too, where they are asked for.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use oops_core::Result;
use oops_engine::{Event, Observer};
use oops_stage::Progress;
use serde_json::json;

use crate::{
    events::{Events, is_stdout},
    terminal::{err, is_colored, is_live, out},
    units::seconds,
};

/// Files longer than this are announced before they are digested.
const LONG: u64 = 256 << 20;
/// Time between two progress lines where there is no terminal.
const BETWEEN_LINES: Duration = Duration::from_secs(10);
/// Time between two progress events of a stage.
const BETWEEN_EVENTS: Duration = Duration::from_millis(500);

/// Where everything that a command shows goes.
pub(crate) struct Screen {
    /// Whether lines go to stderr, because stdout is for JSON.
    to_stderr: bool,
    /// Whether only warnings, errors and results are shown.
    quiet: bool,
    bars: MultiProgress,
    events: Option<Events>,
    /// Warnings that were shown, by instance and message: many walks may meet the same result.
    warned: Mutex<BTreeSet<(String, String)>>,
}

impl Screen {
    /// For a command with these flags.
    pub(crate) fn open(json: bool, quiet: bool, events: Option<&Path>) -> Result<Self> {
        Ok(Self {
            to_stderr: json || events.is_some_and(is_stdout),
            quiet,
            bars: MultiProgress::new(),
            events: events.map(Events::open).transpose()?,
            warned: Mutex::default(),
        })
    }

    /// Prints a result where results go.
    pub(crate) fn say(&self, text: &str) {
        self.bars.suspend(|| if self.to_stderr { err(text) } else { out(text) });
    }

    /// Prints news.
    pub(crate) fn news(&self, text: &str) {
        if !self.quiet {
            self.say(text);
        }
    }

    /// Prints a warning or an error.
    pub(crate) fn warn(&self, text: &str) {
        self.bars.suspend(|| err(text));
    }

    /// Shows and tells a warning of an instance, once, also where little else is shown.
    pub(crate) fn warning(&self, instance: &str, cell: Option<&str>, label: &str, message: &str) {
        let key = (instance.to_owned(), message.to_owned());
        if self.warned.lock().unwrap_or_else(PoisonError::into_inner).insert(key) {
            self.event("warning", cell, json!({ "instance": instance, "message": message }));
            self.warn(&format!("warning: {label}{instance}: {message}"));
        }
    }

    /// Writes an event.
    pub(crate) fn event(&self, event: &str, cell: Option<&str>, fields: serde_json::Value) {
        self.events.iter().for_each(|e| e.write(event, cell, fields.clone()));
    }
}

/// Prints what happens in one walk.
pub(crate) struct Printer<'s> {
    pub(crate) screen: &'s Screen,
    /// Whether results from the store are not worth a line.
    pub(crate) news_only: bool,
    /// Width of the longest instance name.
    pub(crate) width: usize,
    /// The cell of a sweep that the walk fills.
    pub(crate) cell: Option<&'s str>,
    /// What lines begin with, where several walks are under way.
    pub(crate) label: String,
}

impl Printer<'_> {
    fn line(&self, text: &str) {
        self.screen.news(&format!("{}{text}", self.label));
    }

    /// The same as an event.
    fn tell(&self, event: &Event<'_>) {
        let (name, fields) = match event {
            Event::Cached { instance } => ("cached", json!({ "instance": instance })),
            Event::Started { instance, stage, reason } => {
                ("started", json!({ "instance": instance, "stage": stage, "reason": reason.to_string() }))
            }
            Event::Finished { instance, wall_s, .. } => ("finished", json!({ "instance": instance, "wall_s": wall_s })),
            Event::Failed { instance, fault } => {
                let code = fault.class().exit_code();
                ("failed", json!({ "instance": instance, "error": fault.to_string(), "exit_code": code }))
            }
            Event::Reading { path, bytes } => ("reading", json!({ "path": path, "bytes": bytes })),
            Event::Waiting { instance } => ("waiting", json!({ "instance": instance })),
            Event::Warning { instance, message } => {
                return self.screen.warning(instance, self.cell, &self.label, message);
            }
        };
        self.screen.event(name, self.cell, fields);
    }
}

impl Observer for Printer<'_> {
    fn event(&self, event: &Event<'_>) {
        self.tell(event);
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
            Event::Started { .. } | Event::Failed { .. } | Event::Reading { .. } | Event::Warning { .. } => {}
        }
    }

    fn progress<'o>(&'o self, instance: &str) -> Box<dyn Progress + 'o> {
        let screen = self.screen;
        let bar = if is_live() && !screen.quiet {
            screen.bars.add(ProgressBar::new_spinner())
        } else {
            ProgressBar::hidden()
        };
        bar.set_prefix(format!("{}{instance:width$}", self.label, width = self.width));
        bar.set_style(style("{prefix}  {spinner} {elapsed}"));
        bar.enable_steady_tick(Duration::from_millis(200));
        let steps = Mutex::new(Steps::new(0, ""));
        Box::new(Shown { printer: self, instance: instance.to_owned(), bar, steps })
    }
}

fn style(template: &str) -> ProgressStyle {
    let template = if is_colored() { template.replace("{bar:24}", "{bar:24.cyan}") } else { template.to_owned() };
    ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// How far a stage is.
struct Steps {
    total: u64,
    done: u64,
    unit: String,
    start: Instant,
    last_line: Instant,
    last_event: Option<Instant>,
}

impl Steps {
    fn new(total: u64, unit: &str) -> Self {
        let now = Instant::now();
        Self { total, done: 0, unit: unit.to_owned(), start: now, last_line: now, last_event: None }
    }

    /// Seconds that the rest takes at the rate so far.
    fn left(&self) -> f64 {
        self.start.elapsed().as_secs_f64() * self.total.saturating_sub(self.done) as f64 / self.done.max(1) as f64
    }

    /// Whether it is time for a line.
    fn line_is_due(&mut self) -> bool {
        let due = self.last_line.elapsed() >= BETWEEN_LINES && self.done < self.total;
        if due {
            self.last_line = Instant::now();
        }
        due
    }

    /// Whether it is time for an event: the last step always gets one.
    fn event_is_due(&mut self) -> bool {
        let due = self.done >= self.total || self.last_event.is_none_or(|t| t.elapsed() >= BETWEEN_EVENTS);
        if due {
            self.last_event = Some(Instant::now());
        }
        due
    }
}

/// Progress of one running stage.
struct Shown<'p> {
    printer: &'p Printer<'p>,
    instance: String,
    bar: ProgressBar,
    steps: Mutex<Steps>,
}

impl Progress for Shown<'_> {
    fn begin(&self, total: u64, unit: &str) {
        self.bar.set_length(total);
        self.bar.set_position(0);
        self.bar.reset_eta();
        let rate = format!("{{prefix}}  {{bar:24}} {{pos}}/{{len}} {unit} · {{per_sec}} · {{eta}} left");
        self.bar.set_style(style(&rate));
        *self.steps.lock().unwrap_or_else(PoisonError::into_inner) = Steps::new(total, unit);
    }

    fn advance(&self, steps: u64) {
        self.bar.inc(steps);
        let mut s = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        s.done += steps;
        let Printer { screen, cell, label, .. } = self.printer;
        if s.event_is_due() {
            let fields = json!({ "instance": self.instance, "done": s.done, "total": s.total, "unit": s.unit });
            screen.event("progress", *cell, fields);
        }
        if !screen.quiet && !is_live() && s.line_is_due() {
            let left = seconds(s.left());
            err(&format!("{label}{}: {} of {} {}, {left} left", self.instance, s.done, s.total, s.unit));
        }
    }

    fn warn(&self, message: &str) {
        self.printer.event(&Event::Warning { instance: &self.instance, message });
    }
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        self.printer.screen.bars.remove(&self.bar);
    }
}
