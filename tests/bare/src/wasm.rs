//! WebAssembly module: exports `conformance` and passes its output to the imported `host.print`.

use core::fmt::{self, Write};
use core::panic::PanicInfo;
use graftage_tests::conformance::Core;

#[link(wasm_import_module = "host")]
unsafe extern "C" {
    fn print(text: *const u8, length: usize);
}

struct Host;

impl Write for Host {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // SAFETY: the host reads no more than `text.len()` bytes.
        unsafe { print(text.as_ptr(), text.len()) };
        Ok(())
    }
}

/// Prints the lines of the conformance program.
// SAFETY: nothing else in the module has this name.
#[unsafe(no_mangle)]
pub extern "C" fn conformance() {
    crate::conformance(Core::new(), |line| {
        // Writing to the host never fails.
        let _ = writeln!(Host, "{line}");
    });
}

#[panic_handler]
fn panic(panic: &PanicInfo) -> ! {
    let _ = writeln!(Host, "{panic}");
    core::arch::wasm32::unreachable()
}
