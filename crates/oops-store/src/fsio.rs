//! Writes that are all or nothing.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use oops_core::{Fault, Result};

use crate::Store;

/// Makes a folder and its parents.
pub(crate) fn make_dir(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).map_err(|e| Fault::writing(dir, &e))
}

/// Flushes a folder's entries, so that a rename survives a power cut. Some file systems refuse; that costs only safety
/// against power cuts, never against kills.
fn sync_parent(path: &Path) {
    if let Some(dir) = path.parent().and_then(|d| File::open(d).ok()) {
        let _ = dir.sync_all();
    }
}

/// Renames a flushed file to its final name.
pub(crate) fn settle(temporary: &Path, path: &Path) -> Result<()> {
    let renamed = fs::rename(temporary, path).map_err(|e| Fault::writing(path, &e));
    // When both names are links to one file, rename succeeds and keeps both.
    let _ = fs::remove_file(temporary);
    renamed?;
    sync_parent(path);
    Ok(())
}

impl Store {
    /// A name in `tmp/` that no other process or thread uses; it starts with that of the session, so that what a dead
    /// process left there can be told from what is being written.
    pub(crate) fn temporary(&self) -> Result<PathBuf> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let dir = self.root.join("tmp");
        make_dir(&dir)?;
        let session = self.session_name().map_err(|e| Fault::writing(&self.root.join("sessions"), &e))?;
        Ok(dir.join(format!("{session}.{}", COUNT.fetch_add(1, Ordering::Relaxed))))
    }

    /// Writes a whole file: temporary name, flush, rename.
    pub(crate) fn write_whole(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        make_dir(path.parent().unwrap_or(&self.root))?;
        let temporary = self.temporary()?;
        let written = write_flushed(&temporary, bytes).map_err(|e| Fault::writing(path, &e));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written?;
        settle(&temporary, path)
    }
}

fn write_flushed(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Paths in a folder, sorted; none if it does not exist. Unlike a look-up, which takes what it cannot see for absent,
/// whoever deletes must have seen everything.
pub(crate) fn list(dir: &Path) -> Result<Vec<PathBuf>> {
    let read = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.and_then(|d| d.map(|e| e.map(|e| e.path())).collect::<io::Result<Vec<_>>>()),
    };
    let mut paths = read.map_err(|e| cannot_read(dir, &e))?;
    paths.sort();
    Ok(paths)
}

/// A part of the store that cannot be read.
pub(crate) fn cannot_read(path: &Path, e: &io::Error) -> Fault {
    Fault::store(format!("cannot read: {e}")).at(path.display()).help("check the permissions and the disk")
}
