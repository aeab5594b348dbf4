//! Prints what every target must reproduce, as the board computes it, on its link.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("this is firmware: run it with `cargo xtask verify`");
    std::process::exit(1);
}

#[cfg(target_os = "none")]
mod board {
    use embedded_io::Write;
    use graftage_firmware::board::mps2_an386 as board;
    use graftage_tests::conformance::{Core, END, Static, run};

    #[cortex_m_rt::entry]
    fn main() -> ! {
        static mut CORE: Core = Core::new();
        static mut NETWORKS: Static = Static::ZERO;
        let mut link = board::Uart::link();
        let mut written = true;
        let right = run(CORE, NETWORKS, &mut |line| written &= writeln!(link, "{line}").is_ok());
        written &= writeln!(link, "{END}: {right} of 200").is_ok();
        written &= link.flush().is_ok();
        board::exit(written)
    }
}
