//! What a running stage may touch besides its arguments.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use oops_core::{Device, Fault, Result, bail_if};
use serde::Serialize;
use serde_json::Value;

use crate::Workdir;

/// Name of the checkpoint that keeps warnings of an unfinished run.
const WARNINGS: &str = "warnings.json";

/// Receives progress of a running stage.
pub trait Progress: Send + Sync {
    /// The stage will do `total` steps of `unit` (for example 30 "blocks").
    fn begin(&self, total: u64, unit: &str);
    /// `steps` more are done.
    fn advance(&self, steps: u64);
    /// A warning for the user.
    fn warn(&self, message: &str);
}

/// Progress that goes nowhere.
pub struct NoProgress;

impl Progress for NoProgress {
    fn begin(&self, _: u64, _: &str) {}
    fn advance(&self, _: u64) {}
    fn warn(&self, _: &str) {}
}

/// The context of one stage run.
pub struct Cx<'a> {
    /// The pipeline's seed.
    pub seed: u64,
    /// Where forward passes compute, for a stage that says that they may ([`crate::Stage::ON_DEVICE`]).
    pub device: Device,
    /// Files of this run: results, and checkpoints that survive a kill.
    pub work: Workdir,
    /// Where progress goes.
    pub progress: &'a dyn Progress,
    /// Set when the user asks to stop.
    pub cancel: &'a AtomicBool,
    /// Whether the run was foretold to need more memory than it may have: what can lie on disk between two uses should.
    /// Changes no result.
    pub spill: bool,
    measured: Mutex<BTreeMap<String, Value>>,
    warnings: Mutex<Vec<String>>,
}

impl<'a> Cx<'a> {
    /// A context over a work folder.
    pub fn new(seed: u64, work: Workdir, progress: &'a dyn Progress, cancel: &'a AtomicBool) -> Self {
        // What a killed run of the action warned of holds for the part that it finished.
        let warnings = Mutex::new(earlier_warnings(&work));
        Self { seed, device: Device::Cpu, work, progress, cancel, spill: false, measured: Mutex::default(), warnings }
    }

    /// The same with [`Self::device`] set.
    #[must_use]
    pub fn on(self, device: Device) -> Self {
        Self { device, ..self }
    }

    /// The file beside the checkpoints for what can lie on disk between two uses, if it should ([`Self::spill`]).
    pub fn spill_file(&self, name: &str) -> Option<PathBuf> {
        self.spill.then(|| self.work.path(&Workdir::state(name)))
    }

    /// The same with [`Self::spill`] set.
    #[must_use]
    pub fn spilling(self, spill: bool) -> Self {
        Self { spill, ..self }
    }

    /// Fails with an interruption if the user asked to stop; long loops call it once per step.
    pub fn check_cancelled(&self) -> Result<()> {
        bail_if(self.cancel.load(Ordering::Relaxed), || Fault::interrupted("stopped; run the same command to go on"))
    }

    /// Records a figure that may differ from run to run (seconds, peak memory): kept beside the artifact, never in it.
    pub fn measure(&self, name: &str, value: impl Serialize) {
        let value = serde_json::to_value(value).unwrap_or(Value::Null);
        if let Ok(mut map) = self.measured.lock() {
            map.insert(name.to_owned(), value);
        }
    }

    /// Says that the result is valid but hardly what the user meant ("half of the windows have no BOS"). The message is
    /// shown now, kept in the action record, and shown again wherever the result is; `--strict` makes it an error. The
    /// same message is kept once.
    pub fn warn(&self, message: impl Into<String>) {
        let message = message.into();
        let Ok(mut warnings) = self.warnings.lock() else { return };
        if !warnings.contains(&message) {
            self.progress.warn(&message);
            warnings.push(message);
            // A work folder that cannot be written fails where it matters.
            let text = serde_json::to_vec(&*warnings).unwrap_or_default();
            let _ = self.work.write(&Workdir::state(WARNINGS), |path| {
                std::fs::write(path, text).map_err(|e| Fault::writing(path, &e))
            });
        }
    }

    /// The warnings so far, in the order in which they came.
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.lock().map(|w| w.clone()).unwrap_or_default()
    }

    /// The figures recorded so far.
    pub fn measured(&self) -> BTreeMap<String, Value> {
        self.measured.lock().map(|m| m.clone()).unwrap_or_default()
    }
}

fn earlier_warnings(work: &Workdir) -> Vec<String> {
    let name = Workdir::state(WARNINGS);
    let text = work.is_done(&name).then(|| std::fs::read(work.path(&name)).ok()).flatten();
    text.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

/// Adds the seconds that `f` takes to `slot`: what stages report of their parts through [`Cx::measure`].
pub fn timed<T>(slot: &mut f64, f: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let out = f();
    *slot += start.elapsed().as_secs_f64();
    out
}
