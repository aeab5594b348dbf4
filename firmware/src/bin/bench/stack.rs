//! Measurement of stack depth.

use core::hint::black_box;
use core::ptr::{read_volatile, write_volatile};
use cortex_m::register::msp;

/// Pattern that nothing else writes by chance.
const PAINT: u32 = 0x9e37_79b9;

/// Returns the stack depth of `work` below the caller, in bytes.
///
/// All free memory is painted before the work and searched for the deepest change afterwards. Gaps within a frame
/// count; memory below the lowest word written does not.
///
/// Interrupts must be disabled.
#[inline(never)]
pub fn depth(work: &mut dyn FnMut()) -> u32 {
    let (bottom, top) = (cortex_m_rt::heap_start() as u32, msp::read());
    for address in (bottom..top).step_by(4) {
        // SAFETY: nothing lives between the end of all statics, which is aligned to four bytes, and the stack pointer.
        // There is no heap, the stack grows downwards, and the frames of this function and its callers lie at the stack
        // pointer and above.
        unsafe { write_volatile(address as *mut u32, PAINT) };
    }
    // Hidden from the compiler, so that no frame of the work is merged into this one.
    black_box(work)();
    // SAFETY: as above.
    let painted = |address: &u32| unsafe { read_volatile(*address as *const u32) } == PAINT;
    let untouched = (bottom..top).step_by(4).take_while(painted).count() as u32;
    top - bottom - 4 * untouched
}
