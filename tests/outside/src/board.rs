//! The critical section and the end of the program: each of them is mine, and no library's.

use core::panic::PanicInfo;
use cortex_m::interrupt;
use cortex_m::register::primask;
use semihosting::{eprintln, process};

/// A processor of one core, where interrupts are off.
struct Alone;
critical_section::set_impl!(Alone);

// SAFETY: nothing else runs between the two, and interrupts are on again only where they were on before.
unsafe impl critical_section::Impl for Alone {
    unsafe fn acquire() -> bool {
        let on = primask::read().is_active();
        interrupt::disable();
        on
    }

    unsafe fn release(on: bool) {
        if on {
            // SAFETY: they were on when the critical section began.
            unsafe { interrupt::enable() };
        }
    }
}

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    eprintln!("{info}");
    process::exit(1)
}
