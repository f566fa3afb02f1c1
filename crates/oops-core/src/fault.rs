//! One error type for the whole workspace: what went wrong, where, and what would be right.

use std::fmt;

/// Result of everything that can fail.
pub type Result<T> = std::result::Result<T, Fault>;

/// The class of a [`Fault`]; it decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A pipeline file, parameter or flag is wrong: exit code 2.
    Config,
    /// A checkpoint, text, table or other input is wrong: exit code 3.
    Data,
    /// A computation has no usable answer: exit code 4.
    Numerical,
    /// The compute device failed or is missing: exit code 5.
    Device,
    /// The store cannot be read or written (disk full, permission): exit code 6.
    Store,
    /// A bug of ours: exit code 70.
    Internal,
    /// The user stopped the run: exit code 130.
    Interrupted,
}

impl Class {
    /// The process exit code that stands for this class.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Config => 2,
            Self::Data => 3,
            Self::Numerical => 4,
            Self::Device => 5,
            Self::Store => 6,
            Self::Internal => 70,
            Self::Interrupted => 130,
        }
    }
}

/// A failure that a person can act on.
///
/// Renders as the message, then `at:` lines from the outermost place inwards, then one `help:` line.
#[derive(Clone, Debug)]
pub struct Fault {
    class: Class,
    what: String,
    places: Vec<String>,
    help: Option<String>,
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $class:ident;)*) => {$(
        $(#[$doc])*
        pub fn $name(what: impl Into<String>) -> Self {
            Self { class: Class::$class, what: what.into(), places: Vec::new(), help: None }
        }
    )*};
}

impl Fault {
    constructors! {
        /// A wrong pipeline file, parameter or flag.
        config => Config;
        /// A wrong input.
        data => Data;
        /// A computation without a usable answer.
        numerical => Numerical;
        /// A device that failed or is missing.
        device => Device;
        /// A store that cannot be read or written.
        store => Store;
        /// A bug of ours.
        internal => Internal;
        /// Stopped by the user.
        interrupted => Interrupted;
    }

    /// Adds the place, outermost last to be called.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.places.insert(0, place.to_string());
        self
    }

    /// Says what is allowed or what to do; the innermost help wins.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help.get_or_insert(help.into());
        self
    }

    /// Turns an I/O error on an input at `path` into a data fault.
    pub fn reading(path: &std::path::Path, e: &std::io::Error) -> Self {
        Self::data(format!("cannot read: {e}")).at(path.display())
    }

    /// Turns an I/O error while writing `path` into a store fault.
    pub fn writing(path: &std::path::Path, e: &std::io::Error) -> Self {
        Self::store(format!("cannot write: {e}"))
            .at(path.display())
            .help("free disk space or permissions, or choose another store with --cache DIR or OOPS_CACHE")
    }

    /// The class.
    pub fn class(&self) -> Class {
        self.class
    }

    /// The message alone.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// The places, outermost first.
    pub fn places(&self) -> &[String] {
        &self.places
    }

    /// The help line.
    pub fn help_text(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if !self.places.is_empty() {
            write!(f, "\n  at: {}", self.places.join(", "))?;
        }
        self.help.iter().try_for_each(|h| write!(f, "\n  help: {h}"))
    }
}

impl std::error::Error for Fault {}

/// Fails with `fault()` when `condition` holds.
pub fn bail_if(condition: bool, fault: impl FnOnce() -> Fault) -> Result<()> {
    if condition { Err(fault()) } else { Ok(()) }
}

/// The candidate closest to `word` in spelling, if any is close enough to be what was meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|c| (edit_distance(word, c), c))
        .filter(|&(d, c)| d <= 1 + c.chars().count().max(word.chars().count()) / 3)
        .min()
        .map(|(_, c)| c)
}

/// Levenshtein distance in characters.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &cb) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(ca != cb);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_places_outermost_first_and_the_innermost_help() {
        let f = Fault::data("row is short").at("row 3").help("inner").at("file.parquet").help("outer");
        assert_eq!(f.to_string(), "row is short\n  at: file.parquet, row 3\n  help: inner");
        assert_eq!(f.class().exit_code(), 3);
    }

    #[test]
    fn nearest_spelling_is_found_only_when_near() {
        assert_eq!(nearest("score.flip", ["score.flap", "score.wanda"]), Some("score.flap"));
        assert_eq!(nearest("xyz", ["score.flap"]), None);
    }
}
