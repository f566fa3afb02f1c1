//! Files mapped into memory.

use std::{fs::File, ops::Range, path::Path};

use memmap2::Mmap;
use oops_core::{Fault, Result};

/// Bytes of a checkpoint's file.
pub(crate) trait FileBytes: AsRef<[u8]> + Send + Sync {
    /// Says that a part was read and will hardly be read again soon.
    fn release(&self, _part: Range<usize>) {}
}

impl FileBytes for Vec<u8> {}

/// A mapped file. What was read of it counts as this process's memory until it is released.
pub(crate) struct Mapped(Mmap);

impl Mapped {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Fault::reading(path, &e))?;
        #[expect(
            unsafe_code,
            reason = "a mapping is the only way to read a large model without copying it; checkpoints are immutable inputs"
        )]
        // SAFETY: the map is read only; a file that another process cuts short ends this one, it corrupts nothing.
        let mapped = unsafe { Mmap::map(&file) };
        mapped.map(Self).map_err(|e| Fault::reading(path, &e))
    }
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl FileBytes for Mapped {
    #[cfg(unix)]
    fn release(&self, part: Range<usize>) {
        #[expect(unsafe_code, reason = "of memory that is not a file's, the advice would lose what was written")]
        // SAFETY: the map is of a file and never written; whoever reads the part again gets the same bytes from the file.
        let advised =
            unsafe { self.0.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, part.start, part.len()) };
        // Advice that is not taken costs memory that the system takes back when it needs it.
        drop(advised);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kilobytes of a file's mapping that are in this process's memory.
    #[cfg(target_os = "linux")]
    fn resident(path: &Path) -> u64 {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mine = maps.lines().skip_while(|l| !l.ends_with(path.to_str().unwrap()));
        let rss = mine.skip(1).find_map(|l| l.strip_prefix("Rss:")).unwrap();
        rss.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_is_released_is_not_resident_and_reads_the_same_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap().join("file");
        let bytes: Vec<u8> = (0..1 << 22).map(|i: u32| (i / 4096) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let mapped = Mapped::open(&path).unwrap();
        assert_eq!(mapped.as_ref(), bytes);
        assert!(resident(&path) >= 4096);
        mapped.release(100..bytes.len());
        assert_eq!(resident(&path), 0);
        assert_eq!(mapped.as_ref(), bytes);
        mapped.release(0..0);
    }
}
