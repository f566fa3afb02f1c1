//! Fuzz targets: everything that reads files of others. One set serves two ways to make inputs: mutations that follow
//! from a number (`tests/mutations.rs`, in every test run), and libFuzzer's, guided by coverage (`cargo xtask fuzz`).
//!
//! Each target states its law as assertions; [`Target::feed`] adds what must hold of all: no input takes more than
//! 10 s, or one allocation of more than 256 MiB.

mod checkpoints;
mod memory;
mod pipelines;
mod stores;

use std::{
    cell::RefCell,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// Nothing that is read here is longer than a few megabytes.
const MOST_BYTES: usize = 256 << 20;
const LONGEST: Duration = Duration::from_secs(10);

/// Reads bytes in place of a member of the corpus; panics where something does not hold.
type Law = dyn FnMut(usize, &[u8]);

/// A reader under test with valid inputs to start from.
pub struct Target {
    /// Valid inputs; a changed one is fed under the number of the one that it was made from.
    pub corpus: Vec<Vec<u8>>,
    law: Box<Law>,
    /// Where the law writes.
    _folder: TempDir,
}

impl Target {
    fn new(folder: TempDir, corpus: Vec<Vec<u8>>, law: impl FnMut(usize, &[u8]) + 'static) -> Self {
        Self { corpus, law: Box::new(law), _folder: folder }
    }

    /// Reads `bytes` in place of member `which` of the corpus; panics on a find. Gives the time that it took.
    pub fn feed(&mut self, which: usize, bytes: &[u8]) -> Duration {
        memory::forget_largest();
        let start = Instant::now();
        (self.law)(which, bytes);
        let (took, largest) = (start.elapsed(), memory::largest());
        assert!(took < LONGEST, "took {took:?}");
        assert!(largest < MOST_BYTES, "one allocation of {largest} bytes for {} bytes", bytes.len());
        took
    }
}

/// The target called `name`; each has a file in `targets/` and a test in `tests/mutations.rs`.
pub fn target(name: &str) -> Target {
    match name {
        "pipelines" => pipelines::target(),
        "safetensors" => checkpoints::safetensors(),
        "gguf" => checkpoints::gguf(),
        "store_files" => stores::store_files(),
        "cache_files" => stores::cache_files(),
        _ => panic!("no target is called `{name}`"),
    }
}

/// Feeds one of libFuzzer's inputs to the target called `name`: the first byte says in place of which member.
pub fn feed(name: &'static str, data: &[u8]) {
    let Some((which, bytes)) = data.split_first() else { return };
    with_target(name, |target| {
        target.feed(usize::from(*which) % target.corpus.len(), bytes);
    });
}

/// Writes the corpus of the target called `name`, as [`feed`] reads it, into the folder `OOPS_FUZZ_SEEDS` if that is set.
pub fn write_seeds(name: &'static str) {
    let Some(folder) = std::env::var_os("OOPS_FUZZ_SEEDS").map(PathBuf::from) else { return };
    with_target(name, |target| {
        for (which, bytes) in target.corpus.iter().enumerate() {
            let seed = [&[which as u8], bytes.as_slice()].concat();
            std::fs::write(folder.join(format!("seed-{which:02}")), seed).expect("a folder for seeds");
        }
    });
}

/// The process's one target, made when it is first asked for.
fn with_target(name: &'static str, work: impl FnOnce(&mut Target)) {
    thread_local! {
        static TARGET: RefCell<Option<Target>> = const { RefCell::new(None) };
    }
    TARGET.with_borrow_mut(|made| work(made.get_or_insert_with(|| target(name))));
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder for temporary files")
}
