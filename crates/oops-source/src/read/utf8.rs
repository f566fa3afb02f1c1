//! Bytes as text.

use oops_core::{Fault, Result, bail_if};

/// Length of the UTF-8 byte order mark that `start`, the first bytes of a file, begin with; 0 without one. Fails on the
/// marks of other encodings.
pub(super) fn mark(start: &[u8]) -> Result<usize> {
    // UTF-32's little-endian mark begins with that of UTF-16.
    let others: [(&[u8], &str); 4] = [
        (&[0xff, 0xfe, 0, 0], "UTF-32"),
        (&[0, 0, 0xfe, 0xff], "UTF-32"),
        (&[0xff, 0xfe], "UTF-16"),
        (&[0xfe, 0xff], "UTF-16"),
    ];
    let other = others.into_iter().find(|(mark, _)| start.starts_with(mark)).map_or("", |(_, name)| name);
    bail_if(!other.is_empty(), || {
        Fault::data(format!("the file is {other}: it begins with the byte order mark of that encoding"))
            .help("convert the file to UTF-8")
    })?;
    Ok(if start.starts_with(&[0xef, 0xbb, 0xbf]) { 3 } else { 0 })
}

/// The part of `bytes` that is whole characters. What is left (at most three bytes) may be the start of one, unless this is
/// the end of the file. `at` is the place of `bytes` in it.
pub(super) fn whole(bytes: &[u8], at: u64, end: bool) -> Result<&str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(e) if e.error_len().is_none() && !end => {
            std::str::from_utf8(&bytes[..e.valid_up_to()]).map_err(|_| not_utf8(at))
        }
        Err(e) => Err(not_utf8(at + e.valid_up_to() as u64)),
    }
}

fn not_utf8(at: u64) -> Fault {
    Fault::data(format!("not UTF-8 at byte {at}")).help("convert the file to UTF-8")
}
