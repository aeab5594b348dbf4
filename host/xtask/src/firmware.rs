//! `cargo xtask firmware`: builds it, shows what it takes, runs it on the emulated board.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use clap::Subcommand;

use crate::setup::target;
use crate::verify::target::{TARGETS, Target};
use crate::{console, emulator, process, project};

/// The target of the board mps2-an386.
pub const TARGET: &str = "thumbv7em-none-eabihf";

/// What to do with the firmware.
#[derive(Subcommand)]
pub enum Task {
    /// Build it
    Build {
        /// The type of the network, as `graftage graft` writes it; the demo's unless given
        #[arg(long)]
        network: Option<PathBuf>,
    },
    /// Run clippy on it and on the conformance program for all their targets, warnings as errors
    Lint,
    /// Build it, and show what it takes of flash and RAM
    Size {
        /// As for build
        #[arg(long)]
        network: Option<PathBuf>,
    },
    /// Build it, and run it on the emulated board with its link on a TCP port of this machine
    Run {
        /// As for build
        #[arg(long)]
        network: Option<PathBuf>,
        /// The weights image, as `graftage graft` writes it
        #[arg(long)]
        image: PathBuf,
        /// The port
        #[arg(long, default_value_t = 7310)]
        port: u16,
    },
}

/// Does it.
pub fn run(task: Task) -> Result<()> {
    match task {
        Task::Build { network } => {
            let elf = build(network.as_deref())?.join("adapt");
            console::say(&format!("built {}", elf.display()));
            Ok(())
        }
        Task::Lint => {
            let mut cargo = process::cargo();
            cargo.args(["clippy", "--release", "--bins"]).current_dir(project::root().join("firmware"));
            target::select(&mut cargo, TARGET)?;
            process::run(cargo.args(["--", "-D", "warnings"]))?;
            // With the flags of a processor that this machine is not, procedural macros would not run here.
            TARGETS
                .iter()
                .filter(|target| target.has_program() && target.skipped().is_none())
                .try_for_each(Target::lint)
        }
        Task::Size { network } => {
            let elf = build(network.as_deref())?.join("adapt");
            let mut graftage = process::cargo();
            graftage.args(["run", "--quiet", "--release", "--package=graftage", "--no-default-features"]);
            // Beside the one with libtorch, which stays as it is.
            graftage.args(["--target-dir", "target/without-torch", "--", "size"]).arg(elf);
            process::run(graftage.current_dir(project::root()))
        }
        Task::Run { network, image, port } => emulate(&build(network.as_deref())?.join("adapt"), &image, port),
    }
}

/// Builds all binaries of the firmware for a network; returns the folder that holds them.
pub fn build(network: Option<&Path>) -> Result<PathBuf> {
    let mut cargo = process::cargo();
    cargo.args(["build", "--release", "--bins"]).current_dir(project::root().join("firmware"));
    target::select(&mut cargo, TARGET)?;
    if let Some(network) = network {
        let network = std::path::absolute(network)?;
        if !network.is_file() {
            bail!("{} is no file: `graftage graft` writes one", network.display());
        }
        cargo.env("GRAFTAGE_NETWORK", network);
    }
    process::run(&mut cargo)?;
    Ok(folder())
}

/// The folder that holds its binaries once it is built.
pub fn folder() -> PathBuf {
    project::root().join("firmware/target").join(TARGET).join("release")
}

fn emulate(elf: &Path, image: &Path, port: u16) -> Result<()> {
    if !image.is_file() {
        bail!("{} is no file: `graftage graft` writes one", image.display());
    }
    let image = image.to_str().context("the path of the image is not Unicode")?.replace(',', ",,");
    console::say(&format!("`graftage adapt --port tcp:127.0.0.1:{port} …` reaches the board; Ctrl-C ends it"));
    let mut qemu = emulator::command("qemu-system-arm", "mps2-an386", elf);
    qemu.args(["-serial", &format!("tcp:127.0.0.1:{port},server=on,wait=off")]);
    qemu.args(["-device", &format!("loader,file={image},addr=0x00200000,force-raw=on")]);
    // The log, which only its decoder can read, is on standard output.
    process::run(qemu.stdout(Stdio::null()))
}
