//! Headers of a tar archive (POSIX ustar; lengths from 8 GiB on in GNU's binary form, which all programs read).

/// Length of a header, and what every entry is padded to.
pub(super) const BLOCK: u64 = 512;
/// Two blocks of zeros end an archive.
pub(super) const END: u64 = 2 * BLOCK;
/// Where the length stands in a header.
const LENGTH: std::ops::Range<usize> = 124..136;
/// Largest length of 11 octal digits.
const OCTAL_MAX: u64 = (1 << 33) - 1;

/// Zeros behind `bytes` bytes of content.
pub(super) fn padding(bytes: u64) -> u64 {
    (BLOCK - bytes % BLOCK) % BLOCK
}

/// Length of an entry with its header; none if it overflows.
pub(super) fn entry_bytes(bytes: u64) -> Option<u64> {
    bytes.checked_add(BLOCK + padding(bytes))
}

/// The only header that an entry of this name (at most 100 bytes) and length can have: a read-only file of nobody, from
/// 1970.
pub(super) fn header(name: &str, bytes: u64) -> [u8; BLOCK as usize] {
    let mut out = [0; BLOCK as usize];
    let mut put = |at: usize, text: &[u8]| out[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, b"0000444\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    if bytes <= OCTAL_MAX {
        put(LENGTH.start, format!("{bytes:011o}\0").as_bytes());
    } else {
        put(LENGTH.start, &[0x80]);
        put(LENGTH.end - 8, &bytes.to_be_bytes());
    }
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = out.iter().map(|&b| u32::from(b)).sum();
    out[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out
}

/// The length in octal form in a header.
pub(super) fn length(header: &[u8; BLOCK as usize]) -> Option<u64> {
    let digits = header[LENGTH].strip_suffix(b"\0")?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_rounded_up_and_read_back() {
        for (bytes, whole) in [(0, 512), (1, 1024), (512, 1024), (513, 1536)] {
            assert_eq!(entry_bytes(bytes), Some(whole));
            assert_eq!(length(&header("a", bytes)), Some(bytes));
        }
        assert_eq!(entry_bytes(u64::MAX), None);
        let large = header("a", 5 << 33);
        assert_eq!((large[124], &large[128..136]), (0x80, &(5_u64 << 33).to_be_bytes()[..]));
    }
}
