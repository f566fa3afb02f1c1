//! Token ids of a whole text: in memory while they are few, in a scratch file beyond that.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::PathBuf,
};

use oops_core::{Fault, Result};

/// Ids in memory before they are written.
const MEMORY: usize = 1 << 20;

/// Ids one after another.
pub(super) struct Spool {
    path: PathBuf,
    file: Option<File>,
    written: u64,
    memory: Vec<u32>,
}

impl Spool {
    /// An empty one, whose scratch file would be `path`.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, file: None, written: 0, memory: Vec::new() }
    }

    /// Number of ids.
    pub(super) fn len(&self) -> u64 {
        self.written + self.memory.len() as u64
    }

    /// Adds ids.
    pub(super) fn extend(&mut self, ids: &[u32]) -> Result<()> {
        self.memory.extend(ids);
        if self.memory.len() < MEMORY {
            return Ok(());
        }
        let fault = |e: &std::io::Error| Fault::writing(&self.path, e);
        if self.file.is_none() {
            let folder = self.path.parent().map_or(Ok(()), fs::create_dir_all);
            folder.map_err(|e| fault(&e))?;
            let file = File::options().create(true).truncate(true).read(true).write(true).open(&self.path);
            self.file = Some(file.map_err(|e| fault(&e))?);
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        let bytes: Vec<u8> = self.memory.iter().flat_map(|id| id.to_le_bytes()).collect();
        file.seek(SeekFrom::End(0)).and_then(|_| file.write_all(&bytes)).map_err(|e| fault(&e))?;
        self.written += self.memory.len() as u64;
        self.memory.clear();
        Ok(())
    }

    /// `length` ids from `start` on.
    pub(super) fn read(&mut self, start: u64, length: usize) -> Result<Vec<u32>> {
        let from_file = self.written.saturating_sub(start).min(length as u64) as usize;
        let mut bytes = vec![0; 4 * from_file];
        if let Some(file) = self.file.as_mut().filter(|_| from_file > 0) {
            let read = file.seek(SeekFrom::Start(4 * start)).and_then(|_| file.read_exact(&mut bytes));
            read.map_err(|e| Fault::reading(&self.path, &e))?;
        }
        let mut ids: Vec<u32> = bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let at = (start + from_file as u64).saturating_sub(self.written) as usize;
        ids.extend(&self.memory[at..at + length - from_file]);
        Ok(ids)
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_back_from_file_and_memory() {
        let path = std::env::temp_dir().join(format!("oops-spool-{}", std::process::id()));
        let mut spool = Spool::new(path.clone());
        let total = 2 * MEMORY as u32 + 100;
        for first in (0..total).step_by(1000) {
            spool.extend(&(first..total.min(first + 1000)).collect::<Vec<_>>()).unwrap();
        }
        assert_eq!(spool.len(), u64::from(total));
        let edge = spool.written;
        assert!(edge > 0 && path.exists());
        for (start, length) in [(0, 3), (edge - 2, 5), (edge, 4), (u64::from(total) - 7, 7), (5, 0)] {
            let expected: Vec<u32> = (start as u32..start as u32 + length as u32).collect();
            assert_eq!(spool.read(start, length).unwrap(), expected, "{start} {length}");
        }
        drop(spool);
        assert!(!path.exists());
    }
}
