//! The files of one stage run, with a journal of what is finished. After a kill the next run of the same action gets
//! the same folder and trusts only files whose journalled digest still holds.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Mutex,
};

use oops_artifact::{Artifact, Entry, Sink, Tree};
use oops_core::{Digest, Fault, Result};
use serde::{Deserialize, Serialize};

use crate::SourceFile;

/// Prefix of files that are checkpoints, not results.
const STATE: &str = "state/";
const JOURNAL: &str = "journal.jsonl";

#[derive(Serialize, Deserialize)]
struct Line {
    name: String,
    entry: Entry,
}

/// The folder of one stage run.
pub struct Workdir {
    root: PathBuf,
    done: Mutex<BTreeMap<String, Entry>>,
    linked: Mutex<BTreeMap<String, (Entry, PathBuf)>>,
}

/// What a finished run leaves: the tree, and where each file lies.
pub struct Finished {
    /// The artifact's files by digest.
    pub tree: Tree,
    /// Files inside the work folder, to be moved into the store.
    pub fresh: BTreeMap<String, PathBuf>,
    /// Files that lie elsewhere already (a source, or another artifact).
    pub linked: BTreeMap<String, PathBuf>,
}

impl Workdir {
    /// Opens (or makes) the folder and reads its journal; lines that do not parse are ignored.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        fs::create_dir_all(&root).map_err(|e| Fault::writing(&root, &e))?;
        let text = fs::read_to_string(root.join(JOURNAL)).unwrap_or_default();
        let lines = text.lines().filter_map(|l| serde_json::from_str::<Line>(l).ok());
        let done = lines.map(|l| (l.name, l.entry)).filter(|(n, e)| holds(&root.join(n), *e)).collect();
        Ok(Self { root, done: Mutex::new(done), linked: Mutex::default() })
    }

    /// Whether nothing is finished yet: right after opening, that no earlier run got anywhere.
    pub fn is_empty(&self) -> bool {
        lock(&self.done).is_empty()
    }

    /// Whether the file `name` was finished, here or by an earlier, killed run.
    pub fn is_done(&self, name: &str) -> bool {
        lock(&self.done).contains_key(name)
    }

    /// Where the finished file `name` lies.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Writes a file of the artifact: `write` gets a temporary path; the file counts once it is renamed and journalled.
    pub fn write(&self, name: &str, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let path = self.root.join(name);
        let parent = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(parent).map_err(|e| Fault::writing(parent, &e))?;
        let part = path.with_extension("part");
        write(&part)?;
        let entry = entry_of(&part)?;
        fs::rename(&part, &path).map_err(|e| Fault::writing(&path, &e))?;
        self.journal(name, entry)?;
        lock(&self.done).insert(name.to_owned(), entry);
        Ok(())
    }

    /// Name of a checkpoint file: kept until the run is published, never part of the artifact.
    pub fn state(name: &str) -> String {
        format!("{STATE}{name}")
    }

    /// Drops a finished checkpoint that nothing needs any more; errors are ignored, since it only frees space.
    pub fn forget(&self, name: &str) {
        lock(&self.done).remove(name);
        let _ = fs::remove_file(self.root.join(name));
    }

    /// Takes a file of an input into the output without copying it.
    pub fn link(&self, name: &str, from: &Artifact, their_name: &str) -> Result<()> {
        let path = from.path(their_name)?.to_owned();
        let entry = *from.tree.0.get(their_name).ok_or_else(|| Fault::internal(format!("no entry {their_name}")))?;
        lock(&self.linked).insert(name.to_owned(), (entry, path));
        Ok(())
    }

    /// [`Self::link`] under the same name, if the input has such a file; tells whether it has.
    pub fn link_present(&self, from: &Artifact, name: &str) -> Result<bool> {
        let present = from.tree.0.contains_key(name);
        if present {
            self.link(name, from, name)?;
        }
        Ok(present)
    }

    /// Takes a file outside the store into the output without copying it.
    pub fn link_source(&self, file: &SourceFile) {
        lock(&self.linked).insert(file.name.clone(), (file.entry, file.path.clone()));
    }

    /// Everything that was written and linked, without the checkpoints.
    pub fn finish(&self) -> Finished {
        let done = lock(&self.done);
        let linked = lock(&self.linked);
        let results = || done.iter().filter(|(n, _)| !n.starts_with(STATE));
        let entries = results().map(|(n, e)| (n.clone(), *e)).chain(linked.iter().map(|(n, (e, _))| (n.clone(), *e)));
        Finished {
            tree: Tree(entries.collect()),
            fresh: results().map(|(n, _)| (n.clone(), self.root.join(n))).collect(),
            linked: linked.iter().map(|(n, (_, p))| (n.clone(), p.clone())).collect(),
        }
    }

    fn journal(&self, name: &str, entry: Entry) -> Result<()> {
        let path = self.root.join(JOURNAL);
        let fault = |e: std::io::Error| Fault::writing(&path, &e);
        let line = serde_json::to_string(&Line { name: name.to_owned(), entry })
            .map_err(|e| Fault::internal(format!("journal line: {e}")))?;
        let mut file = fs::OpenOptions::new().create(true).append(true).open(&path).map_err(fault)?;
        file.write_all(format!("{line}\n").as_bytes()).map_err(fault)
    }
}

impl Sink for Workdir {
    fn file(&self, name: &str, write: &mut dyn FnMut(&Path) -> Result<()>) -> Result<()> {
        self.write(name, write)
    }
}

fn entry_of(path: &Path) -> Result<Entry> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_mmap_rayon(path).map_err(|e| Fault::writing(path, &e))?;
    Ok(Entry { digest: Digest::from_bytes(hasher.finalize().into()), bytes: hasher.count() })
}

fn holds(path: &Path, entry: Entry) -> bool {
    entry_of(path).is_ok_and(|e| e == entry)
}

/// A poisoned lock only means that another thread panicked; the maps themselves are always whole.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reopened_folder_trusts_only_whole_journalled_files() {
        let root = std::env::temp_dir().join(format!("oops-workdir-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let w = Workdir::open(&root).unwrap();
        let put = |name: &str, bytes: &[u8]| w.write(name, |p| fs::write(p, bytes).map_err(|e| Fault::writing(p, &e)));
        put("a.bin", b"whole").unwrap();
        put("b.bin", b"to be damaged").unwrap();
        put(&Workdir::state("s.bin"), b"checkpoint").unwrap();
        fs::write(root.join("c.bin"), b"never journalled").unwrap();
        fs::write(root.join("b.bin"), b"damaged").unwrap();
        let again = Workdir::open(&root).unwrap();
        assert!(again.is_done("a.bin") && again.is_done("state/s.bin"));
        assert!(!again.is_done("b.bin") && !again.is_done("c.bin"));
        assert_eq!(again.finish().tree.0.keys().collect::<Vec<_>>(), ["a.bin"]);
        fs::remove_dir_all(&root).unwrap();
    }
}
