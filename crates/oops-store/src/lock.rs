//! One process at a time per action.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use oops_core::{Digest, Fault, Result};

use crate::{Store, fsio::make_dir};

/// How often a lock that someone else holds is tried.
const POLL: Duration = Duration::from_millis(50);

/// Holds an action; released (and its file removed) on drop, or by the system when the process dies.
pub struct ActionLock {
    file: File,
    path: PathBuf,
}

impl Store {
    /// Takes the lock of an action. While another process holds it, `waiting` is called a few times a second; it fails to
    /// give up.
    pub fn lock(&self, key: &Digest, mut waiting: impl FnMut() -> Result<()>) -> Result<ActionLock> {
        let dir = self.locks();
        make_dir(&dir)?;
        // From here on nobody deletes its work folder.
        drop(self.announce(key));
        let path = dir.join(key.to_string());
        let fault = |e: io::Error| Fault::writing(&path, &e);
        loop {
            let file = File::options().create(true).append(true).open(&path).map_err(fault)?;
            match file.try_lock() {
                // The previous holder removed the file before it let go; then this lock is on a file without a name.
                Ok(()) if same_file(&file, &path) => return Ok(ActionLock { file, path }),
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    waiting()?;
                    thread::sleep(POLL);
                }
                Err(TryLockError::Error(e)) => return Err(fault(e)),
            }
        }
    }

    /// Deletes the file of a lock that nobody holds: takes the lock and lets go of it, so that whoever has just opened
    /// the file sees that it has no name any more.
    pub(crate) fn delete_lock(path: &Path) {
        if let Ok(file) = File::open(path)
            && file.try_lock().is_ok()
            && same_file(&file, path)
        {
            drop(ActionLock { file, path: path.to_owned() });
        }
    }

    /// The folder of the locks' files.
    pub(crate) fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }
}

impl Drop for ActionLock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        let _ = self.file.unlock();
    }
}

#[cfg(unix)]
fn same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let ids = |m: io::Result<fs::Metadata>| m.map(|m| (m.dev(), m.ino())).ok();
    let ours = ids(file.metadata());
    ours.is_some() && ours == ids(fs::metadata(path))
}

#[cfg(not(unix))]
fn same_file(_: &File, path: &Path) -> bool {
    path.exists()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn one_holder_at_a_time_and_nothing_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        let (inside, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..25 {
                        let _lock = store.lock(&Digest::of(b"key"), || Ok(())).unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        done.fetch_add(1, Ordering::SeqCst);
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(done.load(Ordering::SeqCst), 200);
        assert_eq!(fs::read_dir(store.root().join("locks")).unwrap().count(), 0);
    }

    #[test]
    fn a_lock_is_deleted_only_while_nobody_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        let key = Digest::of(b"key");
        let path = store.locks().join(key.to_string());
        let lock = store.lock(&key, || Ok(())).unwrap();
        Store::delete_lock(&path);
        assert!(path.exists());
        // Of a dead process: the file is there, nobody holds it.
        drop(lock);
        fs::write(&path, "").unwrap();
        Store::delete_lock(&path);
        assert!(!path.exists());
        Store::delete_lock(&path);
        assert!(!path.exists(), "gone already");
        assert!(path.starts_with(store.locks()) && !store.root().join("tmp/x").starts_with(store.locks()));
    }
}
