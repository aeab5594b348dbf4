//! Critical section and panic handler of this program; no library brings them.

use core::panic::PanicInfo;
use cortex_m::interrupt;
use cortex_m::register::primask;
use semihosting::{eprintln, process};

/// Single-core processor on which a critical section disables interrupts.
struct Alone;
critical_section::set_impl!(Alone);

// SAFETY: nothing else runs between acquire and release, and release enables interrupts only if they were enabled
// before.
unsafe impl critical_section::Impl for Alone {
    unsafe fn acquire() -> bool {
        let on = primask::read().is_active();
        interrupt::disable();
        on
    }

    unsafe fn release(on: bool) {
        if on {
            // SAFETY: interrupts were enabled when the critical section began.
            unsafe { interrupt::enable() };
        }
    }
}

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    eprintln!("{info}");
    process::exit(1)
}
