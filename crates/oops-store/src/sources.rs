//! Files outside the store (checkpoints, texts): known by digest, never copied, read again only when they changed.
//!
//! A file is taken for unchanged while its stamp is, if the stamp is old enough to tell: what is written within one tick
//! of the file system's clock leaves no trace there, and some clocks tick in whole seconds.

use std::{
    fs::{self, Metadata},
    io,
    path::{Path, PathBuf},
    sync::{MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use oops_core::{Digest, Fault, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{FileRef, Store, blobs::digest_foreign, fsio::list};

/// A file whose last change is this close to the moment it was read could change again without its stamp changing, so
/// its memo is not trusted. Most file systems tick every few milliseconds; where times are whole seconds they may tick
/// every two (FAT).
const TICK_NS: u128 = 20_000_000;
const COARSE_TICK_NS: u128 = 2 * SECOND_NS;
const SECOND_NS: u128 = 1_000_000_000;
/// How often a file that changes while it is read is read again.
const TRIES: usize = 3;

/// What tells an unchanged file from a changed one without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    bytes: u64,
    modified_ns: u128,
    changed_ns: u128,
    inode: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Memo {
    path: PathBuf,
    stamp: Stamp,
    read_ns: u128,
    digest: Digest,
}

impl Memo {
    /// Whether the file's stamp is as it was when it was read.
    fn unchanged(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|m| stamp(&m) == self.stamp)
    }

    /// Whether an unchanged stamp means an unchanged file.
    fn settled(&self) -> bool {
        let last = self.stamp.modified_ns.max(self.stamp.changed_ns);
        let tick = if last.is_multiple_of(SECOND_NS) { COARSE_TICK_NS } else { TICK_NS };
        last + tick < self.read_ns
    }

    fn file(&self) -> FileRef {
        FileRef { digest: self.digest, bytes: self.stamp.bytes }
    }
}

impl Store {
    /// Digest and length of a file outside the store. `reading` is called with its length before it is read, which
    /// happens only when the file is new or has changed.
    pub fn source(&self, path: &Path, reading: impl FnOnce(u64)) -> Result<FileRef> {
        let path = fs::canonicalize(path).map_err(|e| Fault::reading(path, &e))?;
        let memo_path = self.path_memo(&path);
        if let Some(memo) = read_memo::<Memo>(&memo_path).filter(|m| m.path == path && m.settled() && m.unchanged()) {
            // Another file of this content may have been the known one, and be gone.
            if self.locate_source(&memo.file()).is_none() {
                self.remember(&self.digest_memo(&memo.digest), &memo);
            }
            return Ok(memo.file());
        }
        reading(fs::metadata(&path).map_or(0, |m| m.len()));
        self.read_source(path)
    }

    /// Reads a file outside the store and remembers it.
    fn read_source(&self, path: PathBuf) -> Result<FileRef> {
        let fault = |e: io::Error| Fault::reading(&path, &e);
        let now = || fs::metadata(&path).map(|m| stamp(&m)).map_err(fault);
        for _ in 0..TRIES {
            let before = now()?;
            let read_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
            let file = digest_foreign(&path).map_err(fault)?;
            if now()? == before {
                let memo = Memo { path: path.clone(), stamp: before, read_ns, digest: file.digest };
                self.remember(&self.digest_memo(&file.digest), &memo);
                self.remember(&self.path_memo(&path), &memo);
                return Ok(file);
            }
        }
        Err(Fault::data("the file changes while it is read")
            .at(path.display())
            .help("wait until whoever writes it has finished, then run the same command again"))
    }

    /// Fails if one of these files, read to make `key`, no longer has the content that its digest says. A stamp that
    /// changed, or that cannot tell, is not believed: the file is read. What was made of it so far is deleted with it.
    pub fn unchanged<'a>(&self, key: &Digest, files: impl Iterator<Item = (&'a Path, FileRef)>) -> Result<()> {
        for (path, file) in files.filter(|(path, _)| !path.starts_with(&self.root)) {
            if self.source(path, |_| {}).is_ok_and(|now| now == file) {
                continue;
            }
            self.clear_scratch(key);
            return Err(Fault::data(
                "a file changed while a stage read it, so that what came of it belongs to no file",
            )
            .at(path.display())
            .help("leave checkpoints and texts alone during a run, then run the same command again"));
        }
        Ok(())
    }

    /// Writes a memo. Whoever only looks can do without; why it failed is kept for a result that needs it.
    fn remember(&self, at: &Path, memo: &Memo) {
        let text = serde_json::to_vec(memo).map_err(|e| Fault::internal(format!("memo: {e}")));
        if let Err(fault) = text.and_then(|t| self.write_whole(at, &t)) {
            self.forgotten().get_or_insert(fault);
        }
    }

    /// Why a memo could not be written, if one could not.
    pub(crate) fn forgotten(&self) -> MutexGuard<'_, Option<Fault>> {
        // A poisoned lock only means that another thread panicked; the value is always whole.
        self.forgotten.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The unchanged file outside the store that has this content.
    pub(crate) fn locate_source(&self, file: &FileRef) -> Option<PathBuf> {
        let memo = read_memo::<Memo>(&self.digest_memo(&file.digest))?;
        let known = memo.file() == *file && memo.unchanged();
        let same = || memo.settled() || self.read_source(memo.path.clone()).is_ok_and(|f| f == *file);
        (known && same()).then_some(memo.path)
    }

    /// Forgets which file has this content.
    pub(crate) fn forget_source(&self, digest: &Digest) {
        let memo_path = self.digest_memo(digest);
        if let Some(memo) = read_memo::<Memo>(&memo_path) {
            let _ = fs::remove_file(self.path_memo(&memo.path));
        }
        let _ = fs::remove_file(memo_path);
    }

    /// Whether a file outside the store was once known to have this content.
    pub(crate) fn is_source(&self, digest: &Digest) -> bool {
        self.digest_memo(digest).exists()
    }

    /// All memos.
    pub(crate) fn memos(&self) -> Result<Vec<PathBuf>> {
        let folder = self.root.join("sources");
        Ok([list(&folder.join("digest"))?, list(&folder.join("path"))?].concat())
    }

    /// Whether a memo is not that of the path or digest that its own path says. One that is gone is not damaged.
    pub(crate) fn is_damaged_memo(&self, at: &Path) -> bool {
        let fits = |m: Memo| at == self.path_memo(&m.path) || at == self.digest_memo(&m.digest);
        at.exists() && !read_memo::<Memo>(at).is_some_and(fits)
    }

    fn path_memo(&self, path: &Path) -> PathBuf {
        let name = Digest::of(path.as_os_str().as_encoded_bytes());
        self.root.join("sources/path").join(name.to_string())
    }

    fn digest_memo(&self, digest: &Digest) -> PathBuf {
        self.root.join("sources/digest").join(digest.to_string())
    }
}

/// A memo, if there is a readable one.
fn read_memo<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

#[cfg(unix)]
fn stamp(meta: &Metadata) -> Stamp {
    use std::os::unix::fs::MetadataExt as _;
    let ns = |s: i64, ns: i64| (i128::from(s) * 1_000_000_000 + i128::from(ns)).max(0) as u128;
    Stamp {
        bytes: meta.len(),
        modified_ns: ns(meta.mtime(), meta.mtime_nsec()),
        changed_ns: ns(meta.ctime(), meta.ctime_nsec()),
        inode: meta.ino(),
    }
}

#[cfg(not(unix))]
fn stamp(meta: &Metadata) -> Stamp {
    let modified = meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    Stamp { bytes: meta.len(), modified_ns: modified.as_nanos(), changed_ns: 0, inode: 0 }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, thread::sleep, time::Duration};

    use super::*;

    #[test]
    fn a_file_is_read_again_only_when_it_changed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        let (path, reads) = (dir.path().join("model.bin"), Cell::new(0));
        let digest = || store.source(&path, |_| reads.set(reads.get() + 1)).unwrap();
        fs::write(&path, "weights").unwrap();
        sleep(Duration::from_millis(50));
        let first = digest();
        assert_eq!((digest(), reads.get()), (first, 1));
        assert_eq!(store.locate(&first), Some(fs::canonicalize(&path).unwrap()));

        // Same length, same modification time, other content.
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, "WEIGHTS").unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        assert_eq!(store.locate(&first), None);
        assert_ne!(digest(), first);
        assert_eq!(reads.get(), 2);
    }

    #[test]
    fn content_is_found_again_when_its_first_file_is_gone_or_its_memo_was_never_written() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        let (a, b) = (dir.path().join("a.bin"), dir.path().join("b.bin"));
        fs::write(&a, "weights").unwrap();
        fs::write(&b, "weights").unwrap();
        sleep(Duration::from_millis(50));
        let file = store.source(&a, |_| {}).unwrap();
        store.source(&b, |_| {}).unwrap();
        fs::remove_file(&b).unwrap();
        store.source(&a, |_| {}).unwrap();
        assert_eq!(store.locate(&file), Some(fs::canonicalize(&a).unwrap()));
        // As a kill between the two memos leaves it.
        fs::remove_file(store.digest_memo(&file.digest)).unwrap();
        store.source(&a, |_| {}).unwrap();
        assert_eq!(store.locate(&file), Some(fs::canonicalize(&a).unwrap()));
    }

    /// As on a file system whose times are whole seconds: the stamp tells nothing for two of them.
    #[test]
    fn a_coarse_clock_is_not_believed_until_it_has_ticked() {
        let memo = |modified_ns, read_ns| Memo {
            path: PathBuf::new(),
            stamp: Stamp { bytes: 1, modified_ns, changed_ns: modified_ns, inode: 1 },
            read_ns,
            digest: Digest::of(b"x"),
        };
        let second = 1_700_000_000 * SECOND_NS;
        assert!(!memo(second, second + SECOND_NS).settled());
        assert!(memo(second, second + 3 * SECOND_NS).settled());
        assert!(memo(second + 1, second + SECOND_NS).settled());
        assert!(!memo(second + 1, second + TICK_NS).settled());
    }

    #[test]
    fn a_file_that_changed_while_a_stage_read_it_spoils_what_was_made() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        let (path, key) = (dir.path().join("model.bin"), Digest::of(b"key"));
        fs::write(&path, "weights").unwrap();
        let file = store.source(&path, |_| {}).unwrap();
        let work = store.scratch(&key);
        fs::create_dir_all(&work).unwrap();
        let check = || store.unchanged(&key, [(path.as_path(), file), (work.as_path(), file)].into_iter());
        check().unwrap();
        // Touched, or written anew with the same bytes: only the content counts.
        fs::write(&path, "weights").unwrap();
        check().unwrap();
        assert!(work.exists());
        fs::write(&path, "WEIGHTS").unwrap();
        let fault = check().unwrap_err();
        assert!(fault.to_string().contains("model.bin"), "{fault}");
        assert!(!work.exists());
        fs::remove_file(&path).unwrap();
        assert!(check().is_err());
    }

    #[test]
    fn a_change_within_a_tick_of_the_clock_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        let path = dir.path().join("text.txt");
        for i in 0..50 {
            fs::write(&path, format!("{i:03}")).unwrap();
            let file = store.source(&path, |_| {}).unwrap();
            assert_eq!(file.digest, Digest::of(format!("{i:03}").as_bytes()));
        }
    }
}
