//! Blobs: read-only files named by their digest.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use oops_core::{Digest, Fault, Result};

use crate::{
    FileRef, Store,
    fsio::{make_dir, settle},
};

/// Files up to this size are compared with their digest at every look-up (once per process); larger ones only when a
/// stage is about to read them.
const SMALL: u64 = 4 << 20;

/// Bytes of a file outside the store that are read at once.
const PIECE: u64 = 16 << 20;

/// Digest and length of a file outside the store. It is read, not mapped: one that is cut short meanwhile must not end
/// the process.
pub(crate) fn digest_foreign(path: &Path) -> io::Result<FileRef> {
    let (mut file, mut piece, mut hasher) = (File::open(path)?, Vec::new(), blake3::Hasher::new());
    while file.by_ref().take(PIECE).read_to_end(&mut piece)? > 0 {
        hasher.update_rayon(&piece);
        piece.clear();
    }
    Ok(FileRef { digest: Digest::from_bytes(hasher.finalize().into()), bytes: hasher.count() })
}

/// Digest and length of a file of the store, read through a memory map with all threads.
pub(crate) fn digest_file(path: &Path) -> io::Result<FileRef> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_mmap_rayon(path)?;
    Ok(FileRef { digest: Digest::from_bytes(hasher.finalize().into()), bytes: hasher.count() })
}

impl Store {
    /// Where the blob of a digest lies, if it is there.
    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        self.root.join("blobs").join(&name[..2]).join(name)
    }

    /// Where these bytes lie: a blob of the right length, or an unchanged file outside the store.
    pub fn locate(&self, file: &FileRef) -> Option<PathBuf> {
        self.locate_blob(file).or_else(|| self.locate_source(file))
    }

    fn locate_blob(&self, file: &FileRef) -> Option<PathBuf> {
        let blob = self.blob_path(&file.digest);
        fs::metadata(&blob).is_ok_and(|m| m.is_file() && m.len() == file.bytes).then_some(blob)
    }

    /// Whether the bytes are where they should be and have the right digest. A blob is read once per process; a file
    /// outside the store is taken at its stamp.
    pub fn holds(&self, file: &FileRef) -> bool {
        let Some(blob) = self.locate_blob(file) else { return self.locate_source(file).is_some() };
        if self.checked().contains(&file.digest) {
            return true;
        }
        let whole = digest_file(&blob).is_ok_and(|f| f == *file);
        if whole {
            self.checked().insert(file.digest);
        }
        whole
    }

    /// The cheap check of a look-up: [`Self::locate`], and [`Self::holds`] for small files.
    pub(crate) fn seems_whole(&self, file: &FileRef) -> bool {
        if file.bytes <= SMALL { self.holds(file) } else { self.locate(file).is_some() }
    }

    /// Takes damaged bytes out of service, so that the action that made them is a miss.
    pub fn discard(&self, digest: &Digest) -> Result<()> {
        self.checked().remove(digest);
        self.forget_source(digest);
        let blob = self.blob_path(digest);
        if blob.exists() { self.quarantine(&blob) } else { Ok(()) }
    }

    /// Moves a damaged file of the store to `damaged/`, unless it is gone.
    pub(crate) fn quarantine(&self, path: &Path) -> Result<()> {
        let dir = self.root.join("damaged");
        make_dir(&dir)?;
        let to = dir.join(path.file_name().unwrap_or_default());
        match fs::rename(path, &to) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Fault::writing(&to, &e)),
            _ => Ok(()),
        }
    }

    /// Takes a finished file into the store. The file keeps its old name too (a second link), so that a kill before
    /// the record is written loses no work. An existing blob is replaced: it may be damaged.
    pub(crate) fn adopt(&self, from: &Path, digest: &Digest) -> Result<()> {
        let blob = self.blob_path(digest);
        make_dir(blob.parent().unwrap_or(&self.root))?;
        File::open(from).and_then(|f| f.sync_all()).map_err(|e| Fault::writing(from, &e))?;
        set_read_only(from)?;
        let temporary = self.temporary()?;
        // File systems without hard links: move.
        let linked = fs::hard_link(from, &temporary).or_else(|_| fs::rename(from, &temporary));
        linked.map_err(|e| Fault::writing(&blob, &e))?;
        settle(&temporary, &blob)?;
        self.checked().insert(*digest);
        Ok(())
    }
}

pub(crate) fn set_read_only(path: &Path) -> Result<()> {
    let fault = |e: io::Error| Fault::writing(path, &e);
    let mut permissions = fs::metadata(path).map_err(fault)?.permissions();
    permissions.set_readonly(true);
    fs::set_permissions(path, permissions).map_err(fault)
}
