//! Memory on the processor, which libtorch takes from the C library.

/// Lets the C library keep what is freed for what is taken next; to be called once, when a program starts and has no other
/// thread yet.
///
/// A step takes and frees the same large tensors as the one before. glibc gives them back to the system each time, which
/// then clears every page anew: a quarter to a third of the time of a small GPT's training. What a program holds at most is
/// the same, but it holds it to its end. Without glibc nothing changes.
pub fn keep() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code)]
    // SAFETY: these only set numbers that glibc reads under its own lock; one that it does not take, it ignores.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
        libc::mallopt(libc::M_MMAP_MAX, 0);
        // An arena of another thread's own has no room for large blocks.
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
