//! What is wrong with a pipeline, where, and what would be right; rendered with the offending text.

use std::{fmt, ops::Range};

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};
use oops_core::{Class, Fault};

use crate::Setting;

/// Where a problem lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Bytes of the pipeline file.
    File(Range<usize>),
    /// The override with this index.
    Override(usize),
    /// Nowhere in particular.
    Nowhere,
}

/// One problem.
#[derive(Clone, Debug)]
pub struct Problem {
    /// What is wrong and what would be right.
    pub fault: Fault,
    /// Where.
    pub place: Place,
}

impl Problem {
    /// A fault at a place.
    pub fn new(fault: Fault, place: Place) -> Self {
        Self { fault, place }
    }
}

/// Everything that is wrong with a pipeline; never empty.
#[derive(Clone, Debug)]
pub struct Problems {
    /// Name of the file, as the user gave it.
    pub(crate) file: String,
    /// Its text.
    pub(crate) text: String,
    /// The overrides.
    pub(crate) settings: Vec<Setting>,
    /// What is wrong.
    pub list: Vec<Problem>,
}

impl Problems {
    /// The class of the first problem; it decides the exit code.
    pub fn class(&self) -> Class {
        self.list.first().map_or(Class::Internal, |p| p.fault.class())
    }

    /// All problems for people, with snippets.
    pub fn render(&self, color: bool, width: usize) -> String {
        let theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme).with_width(width).with_links(false);
        let mut out = String::new();
        for problem in &self.list {
            let (source, span) = self.shown(problem);
            let shown = Shown { problem, source, span };
            if handler.render_report(&mut out, &shown).is_err() {
                out.push_str(&problem.fault.to_string());
            }
        }
        out
    }

    /// The same, each with the place (a row of a sweep) that it belongs to.
    #[must_use]
    pub fn at(mut self, place: &str) -> Self {
        self.list.iter_mut().for_each(|p| p.fault = p.fault.clone().at(place));
        self
    }

    /// The text that a problem points into, and where; no place for one that lies nowhere in particular.
    fn shown(&self, problem: &Problem) -> (NamedSource<String>, Option<Range<usize>>) {
        let own = || NamedSource::new(&self.file, self.text.clone()).with_language("yaml");
        match &problem.place {
            Place::File(range) => (own(), Some(range.clone())),
            Place::Override(i) => match self.settings.get(*i).map(Setting::shown) {
                Some((name, text, span)) => (NamedSource::new(name, text), Some(span)),
                None => (own(), None),
            },
            Place::Nowhere => (own(), None),
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false, 100))
    }
}

impl std::error::Error for Problems {}

#[derive(Debug)]
struct Shown<'a> {
    problem: &'a Problem,
    source: NamedSource<String>,
    span: Option<Range<usize>>,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.problem.fault.what())?;
        let places = self.problem.fault.places();
        if places.is_empty() { Ok(()) } else { write!(f, " (at {})", places.join(", ")) }
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.problem.fault.help_text().map(|h| Box::new(h) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.span.as_ref().map(|_| &self.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.span.clone()?;
        Some(Box::new(std::iter::once(LabeledSpan::underline(span))))
    }
}
