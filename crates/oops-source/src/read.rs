//! Reads documents from text files piece by piece, so that memory follows the pieces and not the files: `.txt` is one
//! document, `.jsonl` and `.parquet` hold one per row.
//!
//! Text is UTF-8. A byte order mark at the start of a file is skipped, and other encodings are refused by name. In `.txt`
//! files a line ends with `\n`; `\r\n` and a lone `\r` count as one, as in the text mode of Python.

mod field;
mod lines;
mod plain;
mod table;
mod utf8;

use std::path::Path;

use oops_core::{Fault, Result};

pub(crate) use field::Message;

/// A part of a document.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Piece<'a> {
    /// Text, to be put behind that which came before it.
    Text(&'a str),
    /// The document is complete.
    End,
    /// A row without a text.
    Null,
}

/// Makes a text of the messages of a chat.
pub(crate) type Render<'a> = dyn Fn(&[Message]) -> Result<String> + 'a;

/// How files are read.
pub(crate) struct Reader<'a> {
    /// JSON key or Parquet column of the text; `a.b` is `b` inside `a`.
    pub(crate) field: &'a str,
    /// What a list of chat messages becomes.
    pub(crate) render: &'a Render<'a>,
    /// Told how many bytes more of the file are read; may stop the reading with an error.
    pub(crate) advance: &'a dyn Fn(u64) -> Result<()>,
}

/// Takes pieces; says whether it wants more.
pub(crate) type Take<'a> = dyn FnMut(Piece<'_>) -> Result<bool> + 'a;

/// Endings of files that can be read.
pub(crate) const ENDINGS: [&str; 3] = ["txt", "jsonl", "parquet"];

/// The ending of a file that can be read, in small letters.
pub(crate) fn ending(path: &Path) -> Option<&'static str> {
    let ending = path.extension()?.to_str()?.to_lowercase();
    ENDINGS.into_iter().find(|e| *e == ending)
}

impl Reader<'_> {
    /// Reads the documents of a file into `take`; says whether it wants more.
    pub(crate) fn read(&self, path: &Path, take: &mut Take<'_>) -> Result<bool> {
        match ending(path) {
            Some("parquet") => table::read(self, path, take),
            Some("jsonl") => lines::read(self, path, take),
            Some("txt") => plain::read(self, path, take),
            _ => Err(unknown(path)),
        }
    }
}

/// The fault of a file with another ending.
pub(crate) fn unknown(path: &Path) -> Fault {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    Fault::config(format!("`{name}` has an unknown ending"))
        .at(path.display())
        .help("use .txt (one document), .jsonl or .parquet (one document per row)")
}

#[cfg(test)]
mod tests;
