//! Prints the conformance program's lines as this machine computes them; `fused` runs the negative control.

use graftage_tests::conformance::{Core, END, Static, run};
use std::io::{self, Write};

fn main() -> io::Result<()> {
    let mut core = if std::env::args().nth(1).as_deref() == Some("fused") { Core::fused() } else { Core::new() };
    let mut network = Static::ZERO;
    let mut out = io::BufWriter::new(io::stdout());
    let mut written = Ok(());
    let right = run(&mut core, &mut network, &mut |line| {
        if written.is_ok() {
            written = writeln!(out, "{line}");
        }
    });
    written?;
    writeln!(out, "{END}: {right} of 200")
}
