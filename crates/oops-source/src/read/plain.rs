//! `.txt`: one document, buffer by buffer.

use std::{borrow::Cow, fs::File, io::Read as _, path::Path};

use oops_core::{Fault, Result};

use super::{Piece, Reader, Take, utf8};

const BUFFER: usize = 1 << 16;

pub(super) fn read(reader: &Reader<'_>, path: &Path, take: &mut Take<'_>) -> Result<bool> {
    let mut file = File::open(path).map_err(|e| Fault::reading(path, &e))?;
    // Bytes that are read and not taken yet, and where they begin in the file.
    let (mut bytes, mut at) = (Vec::with_capacity(2 * BUFFER), 0u64);
    let mut first = true;
    loop {
        let before = bytes.len();
        let count = file.by_ref().take(BUFFER as u64).read_to_end(&mut bytes).map_err(|e| Fault::reading(path, &e))?;
        (reader.advance)((bytes.len() - before) as u64)?;
        let place = |f: Fault| f.at(path.display());
        let mark = if first { utf8::mark(&bytes).map_err(place)? } else { 0 };
        first = false;
        let end = count == 0;
        let text = utf8::whole(&bytes[mark..], at + mark as u64, end).map_err(place)?;
        // Whether a line ends with `\r` alone is seen with the next character.
        let text = if end { text } else { text.strip_suffix('\r').unwrap_or(text) };
        if !text.is_empty() && !take(Piece::Text(&with_plain_ends(text)))? {
            return Ok(false);
        }
        if end {
            return take(Piece::End);
        }
        let taken = mark + text.len();
        bytes.drain(..taken);
        at += taken as u64;
    }
}

/// The text with `\n` at the end of every line.
fn with_plain_ends(text: &str) -> Cow<'_, str> {
    if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n").into() } else { text.into() }
}
