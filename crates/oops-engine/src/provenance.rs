//! Circumstances of a run. Everything here is optional: what cannot be found out is left empty.

use std::{
    fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use oops_store::Provenance;

/// What is the same for all stages of this process.
pub(crate) fn provenance(folder: &Path) -> Provenance {
    let threads = std::env::var("RAYON_NUM_THREADS").ok().and_then(|n| n.parse().ok()).filter(|&n| n > 0);
    Provenance {
        instance: String::new(),
        wall_s: 0.0,
        started_unix_s: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        host: host(),
        threads: threads.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1),
        program: env!("CARGO_PKG_VERSION").to_owned(),
        revision: revision(folder),
    }
}

/// Name of this machine.
pub(crate) fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| fs::read_to_string("/etc/hostname"));
    name.unwrap_or_default().trim().to_owned()
}

/// The commit that is checked out around `folder`, read without running git.
fn revision(folder: &Path) -> Option<String> {
    let git = folder.ancestors().map(|a| a.join(".git")).find(|g| g.is_dir())?;
    let head = fs::read_to_string(git.join("HEAD")).ok()?;
    let Some(name) = head.trim().strip_prefix("ref: ") else { return Some(head.trim().to_owned()) };
    if let Ok(commit) = fs::read_to_string(git.join(name)) {
        return Some(commit.trim().to_owned());
    }
    let packed = fs::read_to_string(git.join("packed-refs")).ok()?;
    packed.lines().find_map(|l| l.strip_suffix(name)).map(|commit| commit.trim().to_owned())
}
