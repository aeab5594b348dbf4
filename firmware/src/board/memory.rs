//! Functions that the compiler calls to copy and to fill memory.
//!
//! The compiler's own versions are unrolled for speed and take 1.3 KB more flash. A device copies little, and its
//! kernels copy for themselves.

use core::ptr::{read_volatile, write_volatile};

/// Copies bytes, four at a time if both addresses are aligned.
///
/// # Safety
/// The same requirements as C's `memcpy`.
#[inline(never)]
unsafe fn copy(to: *mut u8, from: *const u8, count: usize) {
    let mut at = 0;
    // Volatile, because the compiler would otherwise turn the loops into calls of this very function.
    if (to.addr() | from.addr()).is_multiple_of(4) {
        while count - at >= 4 {
            // SAFETY: within the bytes that the caller guarantees, and aligned.
            unsafe { write_volatile(to.add(at).cast::<u32>(), read_volatile(from.add(at).cast())) };
            at += 4;
        }
    }
    while at < count {
        // SAFETY: within the bytes that the caller guarantees.
        unsafe { write_volatile(to.add(at), read_volatile(from.add(at))) };
        at += 1;
    }
}

/// Fills bytes, four at a time if the address is aligned.
///
/// # Safety
/// The same requirements as C's `memset`.
#[inline(never)]
unsafe fn fill(to: *mut u8, byte: u8, count: usize) {
    let mut at = 0;
    if to.addr().is_multiple_of(4) {
        while count - at >= 4 {
            // SAFETY: within the bytes that the caller guarantees, and aligned.
            unsafe { write_volatile(to.add(at).cast::<u32>(), u32::from_ne_bytes([byte; 4])) };
            at += 4;
        }
    }
    while at < count {
        // SAFETY: within the bytes that the caller guarantees.
        unsafe { write_volatile(to.add(at), byte) };
        at += 1;
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the caller gives the same guarantees.
    unsafe { copy(to, from, count) };
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, count: usize) -> *mut u8 {
    // SAFETY: the caller gives the same guarantees.
    unsafe { fill(to, byte as u8, count) };
    to
}

/// Aliases under the names of the Arm run-time ABI (Arm IHI 0043, §5.3.4).
#[cfg(target_arch = "arm")]
mod aeabi {
    macro_rules! named {
        ($(($copy:ident, $fill:ident, $clear:ident))*) => {$(
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $copy(to: *mut u8, from: *const u8, count: usize) {
                // SAFETY: the caller gives the same guarantees.
                unsafe { super::copy(to, from, count) };
            }
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $fill(to: *mut u8, count: usize, byte: i32) {
                // SAFETY: the caller gives the same guarantees.
                unsafe { super::fill(to, byte as u8, count) };
            }
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $clear(to: *mut u8, count: usize) {
                // SAFETY: the caller gives the same guarantees.
                unsafe { super::fill(to, 0, count) };
            }
        )*};
    }
    named! {
        (__aeabi_memcpy, __aeabi_memset, __aeabi_memclr)
        (__aeabi_memcpy4, __aeabi_memset4, __aeabi_memclr4)
        (__aeabi_memcpy8, __aeabi_memset8, __aeabi_memclr8)
    }
}
