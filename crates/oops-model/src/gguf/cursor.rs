//! A bounds-checked reader over the bytes of a file: every read names what it wanted and where, and a length is
//! believed only after it was compared with what is left.

use std::ops::Range;

use oops_core::{Fault, Result};

/// A position in a byte string; all numbers are little-endian.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// Offset of the next byte.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Takes `n` bytes and returns where they lie.
    pub(super) fn skip(&mut self, n: u64, what: &str) -> Result<Range<usize>> {
        let left = self.bytes.len() - self.at;
        if n > left as u64 {
            return Err(Fault::data(format!("the file ends inside {what}: {n} bytes needed, {left} left"))
                .at(format!("byte {}", self.at))
                .help("the file is truncated or not a GGUF file: fetch it again and compare its size"));
        }
        let start = self.at;
        self.at += n as usize;
        Ok(start..self.at)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let span = self.skip(N as u64, what)?;
        let mut out = [0; N];
        out.copy_from_slice(&self.bytes[span]);
        Ok(out)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// A count of items that take at least `least` bytes each; refused if they cannot fit into what is left.
    pub(super) fn count(&mut self, least: usize, what: &str) -> Result<usize> {
        let (start, n) = (self.at, self.u64(what)?);
        let room = (self.bytes.len() - self.at) / least;
        if n > room as u64 {
            return Err(Fault::data(format!("{what} is {n}, but at most {room} fit into the rest of the file"))
                .at(format!("byte {start}"))
                .help("the file is truncated or damaged: fetch it again and compare its size"));
        }
        Ok(n as usize)
    }

    /// A length-prefixed UTF-8 string.
    pub(super) fn string(&mut self, what: &str) -> Result<&'a str> {
        let start = self.at;
        let n = self.u64(what)?;
        let span = self.skip(n, what)?;
        std::str::from_utf8(&self.bytes[span])
            .map_err(|e| Fault::data(format!("{what} is not UTF-8: {e}")).at(format!("byte {start}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_compared_with_what_is_left_before_they_are_believed() {
        let mut bytes = u64::MAX.to_le_bytes().to_vec();
        bytes.extend(b"abc");
        let fault = Cursor::new(&bytes, 0).string("a name").unwrap_err();
        assert!(fault.to_string().contains("a name: 18446744073709551615 bytes needed, 3 left"), "{fault}");
        assert!(Cursor::new(&bytes, 0).count(1, "the count").is_err());
        assert!(Cursor::new(&bytes, 8).u32("a number").is_err());
    }

    #[test]
    fn strings_and_numbers_are_little_endian_and_prefixed() {
        let mut bytes = 2_u64.to_le_bytes().to_vec();
        bytes.extend("é".as_bytes());
        bytes.extend([1, 1, 0, 0]);
        let mut cursor = Cursor::new(&bytes, 0);
        assert_eq!(cursor.string("a").unwrap(), "é");
        assert_eq!(cursor.u32("b").unwrap(), 257);
        assert_eq!(cursor.at(), bytes.len());
    }
}
