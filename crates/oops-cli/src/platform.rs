//! What needs the operating system: the memory allocator's settings and Ctrl-C.

use std::sync::atomic::{AtomicBool, Ordering};

use oops_core::Class;

/// Set by the first Ctrl-C or SIGTERM.
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

/// The first Ctrl-C (or SIGTERM) asks running stages to stop at their next step; the second ends the process at once,
/// which leaves the store as a kill would: whole.
#[cfg(unix)]
#[expect(unsafe_code, reason = "signal, write and _exit are C functions")]
pub(crate) fn catch_interrupt() {
    const STOPPING: &[u8] = b"\nstopping at the next step; what is finished is kept (Ctrl-C again: at once)\n";
    extern "C" fn handler(_: libc::c_int) {
        // SAFETY: POSIX lists write and _exit as async-signal-safe; the bytes are static.
        unsafe {
            if CANCEL.swap(true, Ordering::Relaxed) {
                libc::_exit(i32::from(Class::Interrupted.exit_code()));
            }
            libc::write(libc::STDERR_FILENO, STOPPING.as_ptr().cast(), STOPPING.len());
        }
    }
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler only touches an atomic and calls async-signal-safe functions.
        unsafe {
            libc::signal(signal, handler as *const () as libc::sighandler_t);
        }
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
