//! Bytes of a checkpoint's files, read part by part when they are asked for.
//!
//! Files are read, not mapped: one that is cut short while it is mapped ends the process without a word, and one that is
//! overwritten changes under our hands. Here both are faults that name the file.

use std::{
    fs::{File, Metadata},
    io,
    ops::Range,
    path::{Path, PathBuf},
    time::SystemTime,
};

use oops_core::{Fault, Result, bail_if};
use rayon::prelude::*;

/// Values that one task reads and decodes: large enough to be worth a task and a system call, small enough to stay in
/// the cache.
pub(crate) const TASK: usize = 1 << 16;

/// Bytes of a checkpoint's file.
pub(crate) trait FileBytes: Send + Sync {
    /// Length of the file when it was opened.
    fn len(&self) -> usize;

    /// Fills `into` with the bytes from `at` on.
    fn read(&self, at: usize, into: &mut [u8]) -> Result<()>;

    /// Fails if the file was written to since it was opened: what was read of it may be a mixture.
    fn unchanged(&self) -> Result<()> {
        Ok(())
    }
}

impl FileBytes for Vec<u8> {
    fn len(&self) -> usize {
        self.len()
    }

    fn read(&self, at: usize, into: &mut [u8]) -> Result<()> {
        let part = at.checked_add(into.len()).and_then(|end| self.get(at..end));
        into.copy_from_slice(part.ok_or_else(|| Fault::internal("a part past the end"))?);
        Ok(())
    }
}

/// A file on disk.
pub(crate) struct DiskFile {
    path: PathBuf,
    file: File,
    stamp: Stamp,
}

/// What changes when somebody writes to a file.
#[derive(PartialEq)]
struct Stamp {
    len: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    fn of(meta: &Metadata) -> Self {
        Self { len: meta.len(), modified: meta.modified().ok() }
    }
}

impl DiskFile {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let open = || -> io::Result<Self> {
            let file = File::open(path)?;
            let stamp = Stamp::of(&file.metadata()?);
            Ok(Self { path: path.to_owned(), file, stamp })
        };
        open().map_err(|e| Fault::reading(path, &e))
    }

    fn changed(&self) -> Fault {
        Fault::data("the file changed while it was read")
            .at(self.path.display())
            .help("leave checkpoints alone during a run; once the file is whole again, run the same command again")
    }
}

impl FileBytes for DiskFile {
    fn len(&self) -> usize {
        self.stamp.len as usize
    }

    fn read(&self, at: usize, into: &mut [u8]) -> Result<()> {
        read_at(&self.file, at as u64, into).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => self.changed(),
            _ => Fault::reading(&self.path, &e),
        })
    }

    fn unchanged(&self) -> Result<()> {
        let now = self.file.metadata().map_err(|e| Fault::reading(&self.path, &e))?;
        bail_if(Stamp::of(&now) != self.stamp, || self.changed())
    }
}

#[cfg(unix)]
fn read_at(file: &File, at: u64, into: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, into, at)
}

#[cfg(windows)]
fn read_at(file: &File, mut at: u64, mut into: &mut [u8]) -> io::Result<()> {
    while !into.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, into, at)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => (at, into) = (at + n as u64, &mut into[n..]),
        }
    }
    Ok(())
}

/// The bytes of `span`, in one piece.
pub(crate) fn read_span(file: &dyn FileBytes, span: Range<usize>) -> Result<Vec<u8>> {
    let mut bytes = vec![0; span.len()];
    file.read(span.start, &mut bytes)?;
    Ok(bytes)
}

/// The values of `span`, whole blocks of `block` = (values, bytes) each. `piece` decodes some whole blocks; blocks are
/// independent, so the result does not depend on how many threads share the work.
pub(crate) fn decode(
    file: &dyn FileBytes,
    span: Range<usize>,
    block: (usize, usize),
    piece: &(dyn Fn(&[u8], &mut [f32]) + Sync),
) -> Result<Vec<f32>> {
    let (values, bytes) = block;
    let mut out = vec![0.0; span.len() / bytes * values];
    let in_task = (TASK / values).max(1);
    let tasks = out.par_chunks_mut(in_task * values).enumerate();
    tasks.try_for_each_init(Vec::new, |buffer, (i, out)| {
        buffer.resize(out.len() / values * bytes, 0);
        file.read(span.start + i * in_task * bytes, buffer)?;
        piece(buffer, out);
        Ok(())
    })?;
    file.unchanged()?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn sum(file: &dyn FileBytes) -> Result<Vec<f32>> {
        decode(file, 8..file.len(), (1, 2), &|bytes, out| {
            out.iter_mut().zip(bytes.as_chunks::<2>().0).for_each(|(x, b)| *x = f32::from(u16::from_le_bytes(*b)));
        })
    }

    #[test]
    fn a_file_gives_the_values_of_its_bytes_however_many_tasks_there_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let values: Vec<u16> = (0..3 * TASK + 7).map(|i| i as u16).collect();
        let bytes: Vec<u8> = std::iter::repeat_n(0, 8).chain(values.iter().flat_map(|v| v.to_le_bytes())).collect();
        std::fs::write(&path, &bytes).unwrap();
        let wanted: Vec<f32> = values.iter().map(|&v| f32::from(v)).collect();
        assert_eq!(sum(&DiskFile::open(&path).unwrap()).unwrap(), wanted);
        assert_eq!(sum(&bytes).unwrap(), wanted);
    }

    /// Cut short, overwritten with as many bytes, appended to: a fault that names the file, never another number.
    #[test]
    fn a_file_that_changes_while_it_is_read_is_a_fault() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        let changes: [fn(&Path); 3] = [
            |p| File::options().write(true).open(p).unwrap().set_len(100).unwrap(),
            |p| File::options().write(true).open(p).unwrap().write_all(&[1; 1008]).unwrap(),
            |p| File::options().append(true).open(p).unwrap().write_all(&[1]).unwrap(),
        ];
        for change in changes {
            std::fs::write(&path, [0; 1008]).unwrap();
            let file = DiskFile::open(&path).unwrap();
            assert_eq!(sum(&file).unwrap(), [0.0; 500]);
            std::thread::sleep(std::time::Duration::from_millis(30));
            change(&path);
            let fault = sum(&file).unwrap_err().to_string();
            assert!(fault.contains("changed while it was read") && fault.contains("weights"), "{fault}");
        }
    }
}
