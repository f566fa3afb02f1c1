//! `.jsonl`: one JSON object per line, line by line.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::Path,
};

use oops_core::{Fault, Result};

use super::{Piece, Reader, Take, field, field::Cell, utf8};

pub(super) fn read(reader: &Reader<'_>, path: &Path, take: &mut Take<'_>) -> Result<bool> {
    let file = File::open(path).map_err(|e| Fault::reading(path, &e))?;
    let mut file = BufReader::with_capacity(1 << 16, file);
    let (mut bytes, mut at) = (Vec::new(), 0u64);
    for number in 1.. {
        bytes.clear();
        if file.read_until(b'\n', &mut bytes).map_err(|e| Fault::reading(path, &e))? == 0 {
            break;
        }
        (reader.advance)(bytes.len() as u64)?;
        let place = |f: Fault| f.at(format!("{}:{number}", path.display()));
        let mark = if number == 1 { utf8::mark(&bytes).map_err(|f| f.at(path.display()))? } else { 0 };
        let line = utf8::whole(&bytes[mark..], at + mark as u64, true).map_err(place)?;
        at += bytes.len() as u64;
        if !line.trim().is_empty() && !row(reader, line, take).map_err(place)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn row(reader: &Reader<'_>, line: &str, take: &mut Take<'_>) -> Result<bool> {
    let row = serde_json::from_str(line).map_err(|e| Fault::data(format!("not JSON: {e}")))?;
    give(reader, field::of_json(&row, reader.field)?, take)
}

/// Gives a row's cell to `take`.
pub(super) fn give(reader: &Reader<'_>, cell: Cell, take: &mut Take<'_>) -> Result<bool> {
    let text = match cell {
        Cell::Null => return take(Piece::Null),
        Cell::Text(text) => text,
        Cell::Chat(messages) => (reader.render)(&messages)?,
    };
    Ok(take(Piece::Text(&text))? && take(Piece::End)?)
}
