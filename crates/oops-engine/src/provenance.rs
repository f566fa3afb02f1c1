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
        vectors: Some(oops_stage::vectors().to_owned()),
        source: None,
    }
}

/// Why the same action may have given other bytes than the last time.
pub(crate) fn other_bytes(then: &Provenance, now: &Provenance) -> String {
    let what = "the same inputs gave other bytes than last time";
    match (&then.vectors, &now.vectors) {
        (Some(old), Some(new)) if old != new => {
            return format!(
                "{what}, when the CPU had {old} and not {new}: between kinds of CPUs the last bits of sums differ"
            );
        }
        _ => {}
    }
    match (&then.source, &now.source) {
        (Some(old), Some(new)) if old != new => {
            format!("{what}, when the stage had another source ({old}, now {new}): its VERSION must be raised")
        }
        _ => format!("{what}: please report this as a bug of the stage"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_bytes_are_a_bug_only_on_the_same_kind_of_cpu_by_the_same_source() {
        let by = |vectors: &str, source: &str| Provenance {
            vectors: Some(vectors.to_owned()),
            source: Some(source.to_owned()),
            ..Provenance::default()
        };
        let why = |then: &Provenance| other_bytes(then, &by("AVX-512", "b"));
        assert!(why(&by("AVX2", "a")).contains("had AVX2 and not AVX-512"));
        assert!(why(&by("AVX-512", "a")).contains("VERSION must be raised"));
        assert!(why(&by("AVX-512", "b")).contains("report this as a bug"));
    }
}
