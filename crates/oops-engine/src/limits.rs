//! How much of a schedule may happen at a time.

use oops_stage::Needs;

/// How much may happen at a time.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Stages.
    pub jobs: usize,
    /// Of them, stages that keep all cores busy.
    pub heavy: usize,
    /// Bytes that stages side by side may be expected to hold together; a stage that needs more runs alone.
    pub memory: Option<u64>,
    /// Whether everything that does not depend on a stage that failed still runs.
    pub keep_going: bool,
}

impl Limits {
    /// Bytes that a stage needs and bytes that it may have, if those are fewer.
    pub(crate) fn exceeded(self, needs: &Needs) -> Option<(u64, u64)> {
        needs.memory_bytes.zip(self.memory).filter(|(needed, most)| needed > most)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { jobs: 1, heavy: 1, memory: None, keep_going: false }
    }
}
