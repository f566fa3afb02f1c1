//! Memory of this process and of the machine, as the operating system counts it.

use std::fs;

/// Largest resident set so far (or since [`reset_peak_rss`]) in bytes; `None` where the system does not tell.
pub fn peak_rss_bytes() -> Option<u64> {
    kib("/proc/self/status", "VmHWM:")
}

/// Resident set of this moment in bytes.
pub fn rss_bytes() -> Option<u64> {
    kib("/proc/self/status", "VmRSS:")
}

/// Starts counting [`peak_rss_bytes`] anew; where the system does not let us, the old peak stays.
pub fn reset_peak_rss() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// Memory that this machine (or the control group of this process) can still give, in bytes.
pub fn available_bytes() -> Option<u64> {
    let machine = kib("/proc/meminfo", "MemAvailable:");
    let group = || {
        let read = |name: &str| fs::read_to_string(format!("/sys/fs/cgroup/memory.{name}")).ok()?.trim().parse().ok();
        Some(u64::saturating_sub(read("max")?, read("current")?))
    };
    machine.into_iter().chain(group()).min()
}

/// A line of a file of the system that counts in units of 1024 bytes.
fn kib(path: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
