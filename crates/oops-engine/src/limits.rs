//! How much of a schedule may happen at a time.

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

impl Default for Limits {
    fn default() -> Self {
        Self { jobs: 1, heavy: 1, memory: None, keep_going: false }
    }
}
