//! Workstation as a target. An argument selects a negative control: `fused` or `flushed`.

use crate::conformance;
use graftage_tests::conformance::Core;
use std::io::{self, Error, Write};

/// Prints the lines of the conformance program.
pub fn main() -> io::Result<()> {
    let control = std::env::args().nth(1);
    let core = match control.as_deref() {
        None => Core::new(),
        Some("fused") => Core::fused(),
        Some("flushed") => {
            flush_subnormals()?;
            Core::new()
        }
        Some(other) => return Err(Error::other(format!("no such control: {other}"))),
    };
    let mut out = io::BufWriter::new(io::stdout());
    let mut written = Ok(());
    conformance(core, |line| {
        if written.is_ok() {
            written = writeln!(out, "{line}");
        }
    });
    written?;
    out.flush()
}

/// Makes subnormal operands count as zero and subnormal results become zero from here on.
#[cfg(target_arch = "x86_64")]
fn flush_subnormals() -> io::Result<()> {
    // Initial value of the register with flush-to-zero and denormals-are-zero.
    const FLUSHING: u32 = 0x1f80 | 0x8000 | 0x0040;
    // SAFETY: the compiler assumes that this is never done. The control exists to show the effect, and it breaks no
    // memory: no address depends on a subnormal number.
    unsafe {
        std::arch::asm!("ldmxcsr [{}]", in(reg) &FLUSHING, options(nostack, readonly));
    }
    Ok(())
}

/// Fails, as this program knows no such register except on x86-64.
#[cfg(not(target_arch = "x86_64"))]
fn flush_subnormals() -> io::Result<()> {
    Err(Error::other("subnormals can be flushed on x86_64 only"))
}
