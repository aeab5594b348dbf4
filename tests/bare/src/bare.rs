//! Machine without an operating system: a start-up crate calls `main`, and the lines are written by semihosting.

use crate::conformance;
use graftage_tests::conformance::Core;
use semihosting::{println, process};

#[cfg(feature = "aarch64")]
aarch64_rt::entry!(start, 16); // number of stack pages

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

/// Sets the floating-point unit, which the start-up crate has enabled, to round to nearest and to keep subnormals.
fn keep_subnormals() {
    // riscv-rt does this itself; machines with none of these units compute in software.
    #[cfg(all(target_arch = "arm", target_abi = "eabihf"))]
    // SAFETY: the compiler assumes that the register is zero.
    unsafe {
        core::arch::asm!("vmsr fpscr, {}", in(reg) 0);
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        core::arch::asm!("msr fpcr, {}", in(reg) 0_u64);
    }
}
