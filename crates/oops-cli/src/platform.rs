//! What needs the operating system: the memory allocator's settings and Ctrl-C.

use std::sync::atomic::{AtomicBool, Ordering};

/// Set by the first Ctrl-C.
pub(crate) static CANCEL: AtomicBool = AtomicBool::new(false);

/// Keeps freed memory in the process. Tensors are allocated and freed thousands of times; giving their pages back to the
/// system each time makes elementwise operations several times slower, because every page faults in again.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "mallopt is a C function")]
pub(crate) fn tune_allocator() {
    const TOP_PAD: i32 = 256 << 20;
    // SAFETY: mallopt only sets numbers inside the allocator; it is called first in main, before other threads exist.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
        libc::mallopt(libc::M_TOP_PAD, TOP_PAD);
    }
}

/// Other allocators are left alone.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn tune_allocator() {}

/// The first Ctrl-C asks the run to stop at the next step; the second ends the process.
#[cfg(unix)]
#[expect(unsafe_code, reason = "signal is a C function")]
pub(crate) fn catch_interrupt() {
    extern "C" fn handler(_: libc::c_int) {
        CANCEL.store(true, Ordering::Relaxed);
        // SAFETY: signal may be called in a handler (POSIX lists it as async-signal-safe).
        unsafe {
            libc::signal(libc::SIGINT, libc::SIG_DFL);
        }
    }
    // SAFETY: the handler only stores to an atomic and calls an async-signal-safe function.
    unsafe {
        libc::signal(libc::SIGINT, handler as *const () as libc::sighandler_t);
    }
}

/// Elsewhere Ctrl-C ends the process.
#[cfg(not(unix))]
pub(crate) fn catch_interrupt() {
    CANCEL.store(false, Ordering::Relaxed);
}

/// Name of the processor, where the system says it.
pub(crate) fn cpu_name() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|l| l.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim().to_owned())
}
