//! How deep the stack goes.

use core::hint::black_box;
use core::ptr::{read_volatile, write_volatile};
use cortex_m::register::msp;

/// What nothing writes by chance.
const PAINT: u32 = 0x9e37_79b9;

/// Bytes below the caller that some work writes at most: all free memory is painted before, and searched for the deepest change
/// after. What is skipped in a frame counts, what lies below the last word that was written does not.
///
/// No interrupt may be enabled.
#[inline(never)]
pub fn depth(work: &mut dyn FnMut()) -> u32 {
    let (bottom, top) = (cortex_m_rt::heap_start() as u32, msp::read());
    for address in (bottom..top).step_by(4) {
        // SAFETY: from the end of all statics, which is aligned to four bytes, to the stack pointer nothing lives: there is no
        // heap, the stack grows downwards, and this frame and its callers' lie at the stack pointer and above.
        unsafe { write_volatile(address as *mut u32, PAINT) };
    }
    // Not known to the compiler, so that no frame of the work becomes a part of this one.
    black_box(work)();
    // SAFETY: as above.
    let painted = |address: &u32| unsafe { read_volatile(*address as *const u32) } == PAINT;
    let untouched = (bottom..top).step_by(4).take_while(painted).count() as u32;
    top - bottom - 4 * untouched
}
