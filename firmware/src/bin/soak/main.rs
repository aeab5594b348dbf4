//! A long life on the emulated board: labelled samples that it generates itself, faults and resets among them. Built for this
//! machine instead, it computes with core alone what the board must come to. `cargo xtask soak` runs both and holds one against
//! the other.
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
