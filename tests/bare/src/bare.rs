//! A machine without a system: a start-up crate calls `main`, and the lines leave by semihosting.

use crate::conformance;
use graftage_tests::conformance::Core;
use semihosting::{println, process};

#[cfg(feature = "aarch64")]
aarch64_rt::entry!(start, 16); // pages of stack

#[cfg(feature = "aarch64")]
fn start(_: u64, _: u64, _: u64, _: u64) -> ! {
    main()
}

#[cfg_attr(feature = "cortex-m", cortex_m_rt::entry)]
#[cfg_attr(feature = "cortex-r", aarch32_rt::entry)]
#[cfg_attr(feature = "riscv", riscv_rt::entry)]
fn main() -> ! {
    keep_subnormals();
    conformance(Core::new(), |line| println!("{line}"));
    process::exit(0)
}

/// Sets the floating-point unit, which the start-up crate has switched on, to round to nearest and to flush nothing.
fn keep_subnormals() {
    // riscv-rt does so itself; the other machines without one of these units compute in software.
    #[cfg(all(target_arch = "arm", target_abi = "eabihf"))]
    // SAFETY: zero is what the compiler takes the register to be.
    unsafe {
        core::arch::asm!("vmsr fpscr, {}", in(reg) 0);
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        core::arch::asm!("msr fpcr, {}", in(reg) 0_u64);
    }
}
