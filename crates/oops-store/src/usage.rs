//! Who uses what, so that garbage collection can run beside other processes.
//!
//! A process that uses the store has a file in `sessions/` that it keeps locked while it lives, with the key of every
//! action that it looked up, is making or has published. A key is written there under the shared store-wide lock, and
//! only then is its record looked at; publishing holds the shared lock from the first blob to the record. Collection
//! holds the lock alone: what it sees of sessions and records cannot change under it.

use std::{
    collections::BTreeSet,
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use oops_core::{Digest, Fault, Result};

use crate::Store;

/// How long to wait for others to let go of the store: they hold it to publish one result, or, where they cannot
/// announce what they use, for as long as they live.
const PATIENCE: Duration = Duration::from_mins(1);

/// What this process has said about its use of the store.
#[derive(Default)]
pub(crate) struct Usage {
    session: Option<Session>,
    /// The shared lock, held for good because a key could not be announced.
    held: Option<File>,
}

struct Session {
    path: PathBuf,
    file: File,
    keys: BTreeSet<Digest>,
}

impl Session {
    /// The caller holds the shared lock, so that nobody takes the new file for that of a dead process.
    fn start(dir: &Path) -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        fs::create_dir_all(dir)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = dir.join(format!("{}-{now}-{count}", std::process::id()));
        let file = File::options().create_new(true).append(true).open(&path)?;
        file.lock()?;
        Ok(Self { path, file, keys: BTreeSet::new() })
    }

    fn add(&mut self, key: &Digest) -> io::Result<()> {
        if !self.keys.contains(key) {
            self.file.write_all(format!("{key}\n").as_bytes())?;
            self.keys.insert(*key);
        }
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// The session files of living processes, with their keys, and those that dead ones left.
#[derive(Default)]
pub(crate) struct Sessions {
    /// Names of the sessions of living processes.
    pub(crate) living: BTreeSet<String>,
    /// Actions that living processes use.
    pub(crate) keys: BTreeSet<Digest>,
    /// Files of dead processes.
    pub(crate) dead: Vec<PathBuf>,
}

impl Sessions {
    pub(crate) fn read(paths: Vec<PathBuf>) -> io::Result<Self> {
        let mut all = Self::default();
        for path in paths {
            let file = match File::open(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            match file.try_lock() {
                Ok(()) => all.dead.push(path),
                Err(TryLockError::Error(e)) => return Err(e),
                Err(TryLockError::WouldBlock) => {
                    all.living.extend(path.file_name().map(|n| n.to_string_lossy().into_owned()));
                    all.keys.extend(fs::read_to_string(&path)?.lines().filter_map(|l| l.parse::<Digest>().ok()));
                }
            }
        }
        Ok(all)
    }
}

impl Store {
    fn usage(&self) -> MutexGuard<'_, Usage> {
        // A poisoned lock only means that another thread panicked; every step leaves the value whole.
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_file(&self) -> io::Result<File> {
        let path = self.root.join("lock");
        // On read-only media the file may still be there to be locked.
        File::options().create(true).append(true).open(&path).or_else(|_| File::open(&path))
    }

    /// The store-wide lock, together with others, until the file is dropped.
    pub(crate) fn share(&self) -> io::Result<File> {
        let file = self.lock_file()?;
        file.lock_shared()?;
        Ok(file)
    }

    /// The store-wide lock, alone. `waiting` is called once if others hold it for long.
    pub(crate) fn alone(&self, waiting: &mut dyn FnMut()) -> Result<File> {
        let fault = |e: io::Error| Fault::writing(&self.root.join("lock"), &e);
        let file = self.lock_file().map_err(fault)?;
        let start = Instant::now();
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(e)) => return Err(fault(e)),
                Err(TryLockError::WouldBlock) if start.elapsed() > PATIENCE => {
                    return Err(Fault::store("another process does not let go of the store")
                        .at(self.root.display())
                        .help("wait until it has ended, then try again; nothing was changed"));
                }
                Err(TryLockError::WouldBlock) => {
                    if !told && start.elapsed() > Duration::from_secs(1) {
                        told = true;
                        waiting();
                    }
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        }
    }

    /// Says that this process uses an action, and holds the shared lock until the answer is dropped. Without a place to
    /// say so, the lock is kept for good; where there is not even a lock, nobody can delete anything.
    pub(crate) fn announce(&self, key: &Digest) -> Option<File> {
        let shared = self.share().ok()?;
        let mut usage = self.usage();
        if usage.held.is_some() {
            return Some(shared);
        }
        let said = self.started(&mut usage).and_then(|s| s.add(key));
        if said.is_err() {
            usage.held = shared.try_clone().ok();
        }
        Some(shared)
    }

    fn started<'u>(&self, usage: &'u mut Usage) -> io::Result<&'u mut Session> {
        if usage.session.is_none() {
            usage.session = Some(Session::start(&self.root.join("sessions"))?);
        }
        usage.session.as_mut().ok_or_else(|| io::Error::other("no session"))
    }

    /// Name of this process's session: what it is writing in `tmp/` starts with it.
    pub(crate) fn session_name(&self) -> io::Result<String> {
        let _shared = self.share()?;
        let mut usage = self.usage();
        let session = self.started(&mut usage)?;
        Ok(session.path.file_name().unwrap_or_default().to_string_lossy().into_owned())
    }
}
