//! CPU memory, which libtorch takes from the C library.

/// Makes the C library keep freed memory for later allocations. Call it once, at program start before any other thread
/// exists.
///
/// Each step allocates and frees the same large tensors. By default glibc returns them to the system each time, and the
/// system then clears every page again; this takes a quarter to a third of the training time of a small GPT. The peak
/// memory stays the same, but the program keeps it until it ends. Without glibc this function does nothing.
pub fn keep() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code)]
    // SAFETY: these calls only set numbers that glibc reads under its own lock. glibc ignores a setting that it does
    // not accept.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
        libc::mallopt(libc::M_MMAP_MAX, 0);
        // Arenas of other threads have no room for large blocks.
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
