//! Conformance program as an executable for the workstation, a bare machine or WebAssembly.
#![cfg_attr(any(target_os = "none", target_family = "wasm"), no_std, no_main)]

#[cfg_attr(target_os = "none", path = "bare.rs")]
#[cfg_attr(target_family = "wasm", path = "wasm.rs")]
#[cfg_attr(not(any(target_os = "none", target_family = "wasm")), path = "hosted.rs")]
mod machine;

use core::fmt::Arguments;
use graftage_tests::conformance::{ASKED, Core, END, Static, run};

#[cfg(not(any(target_os = "none", target_family = "wasm")))]
fn main() -> std::io::Result<()> {
    machine::main()
}

/// Runs the program and prints all of its lines.
fn conformance(mut core: Core, mut print: impl FnMut(Arguments)) {
    let mut networks = Static::ZERO;
    let right = run(&mut core, &mut networks, &mut |line| print(format_args!("{line}")));
    print(format_args!("{END}: {right} of {ASKED}"));
}
