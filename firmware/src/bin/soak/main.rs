//! Long life on the emulated board: labelled samples that it generates itself, with faults and resets among them.
//!
//! Built for the workstation, the program computes with core alone the results that the board must reach. `cargo xtask
//! soak` runs both and compares them.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod board;
mod life;
#[cfg(not(target_os = "none"))]
mod replay;
#[cfg(target_os = "none")]
mod world;

#[cfg(not(target_os = "none"))]
fn main() -> std::process::ExitCode {
    replay::main()
}
