//! How much of a schedule may happen at a time, and what becomes of failures and warnings.

use oops_stage::Needs;

/// How much may happen at a time, and what becomes of failures and warnings.
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
    /// Whether a warning of a stage is an error: what warns while it runs is not published, and a result whose record has
    /// warnings is not used.
    pub strict: bool,
}

impl Limits {
    /// What a stage is expected to need and will not find: memory, and disk of which `free` bytes are left.
    pub fn shortages(self, needs: &Needs, free: Option<u64>) -> Vec<String> {
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        let memory = self.exceeded(needs).map(|(needed, most)| {
            let (needed, most) = (gib(needed), gib(most));
            format!("needs about {needed:.1} GiB of memory, {most:.1} may be used")
        });
        let disk = needs.disk_bytes.zip(free).filter(|(needed, free)| needed > free).map(|(needed, free)| {
            let (needed, free) = (gib(needed), gib(free));
            format!("needs about {needed:.1} GiB of disk, {free:.1} are free: make room, or choose another store")
        });
        memory.into_iter().chain(disk).collect()
    }

    /// Bytes that a stage needs and bytes that it may have, if those are fewer.
    pub(crate) fn exceeded(self, needs: &Needs) -> Option<(u64, u64)> {
        needs.memory_bytes.zip(self.memory).filter(|(needed, most)| needed > most)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { jobs: 1, heavy: 1, memory: None, keep_going: false, strict: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_machine_has_not_is_said() {
        let limits = Limits { memory: Some(1 << 30), ..Limits::default() };
        let needs = Needs { memory_bytes: Some(3 << 30), disk_bytes: Some(5 << 30), ..Needs::HEAVY };
        let short = limits.shortages(&needs, Some(2 << 30));
        assert!(short[0].starts_with("needs about 3.0 GiB of memory, 1.0 may be used"), "{short:?}");
        assert!(short[1].starts_with("needs about 5.0 GiB of disk, 2.0 are free"), "{short:?}");
        assert!(Limits::default().shortages(&needs, None).is_empty());
        assert!(limits.shortages(&Needs::HEAVY, Some(0)).is_empty());
    }
}
