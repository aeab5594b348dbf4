//! Targets of the conformance program: what each one is, and how it is built and run.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use graftage_boards::qemu::Machine;

use crate::{emulator, firmware, process, project, toolchain};

/// Time limit of a target. The slowest take some ten seconds.
const LIMIT: Duration = Duration::from_secs(300);

/// Platform of the conformance program: a machine, or an implementation of core's matrices on it.
pub struct Target {
    /// Name of the target.
    pub name: &'static str,
    /// Array in which a negative control, which computes something else on purpose, must differ.
    pub control: Option<&'static str>,
    runner: Runner,
}

enum Runner {
    /// This machine, with the program's argument and flags for the compiler.
    Native { argument: Option<&'static str>, rustflags: &'static str },
    /// A board in QEMU.
    Emulated(Board),
    /// A WebAssembly engine.
    Wasm,
    /// libtorch on this machine, with the program's argument.
    Libtorch(Option<&'static str>),
}

/// Beginning of the line in which a program says why it does not run.
pub const SKIPPED: &str = "skipped: ";

/// An emulated board.
pub struct Board {
    /// Target triple of the compiler.
    pub triple: &'static str,
    rustflags: &'static str,
    /// Name of the machine in QEMU, followed by further options.
    machine: &'static str,
    /// First address of the flash and of the RAM, which have at least 256 and 128 KiB.
    flash: u32,
    ram: u32,
}

/// All targets. The others are compared with the first one.
///
/// `setup` gets what they need. A new board is one line here: its name, its target triple and flags for the compiler,
/// QEMU's machine, and the first address of its flash and of its RAM.
pub const TARGETS: &[Target] = &[
    native(std::env::consts::ARCH, ""),
    native(AVX512, "-Ctarget-cpu=x86-64-v4"),
    board("cortex-m0", "thumbv6m-none-eabi", "", "microbit -global nrf51-soc.sram-size=131072", 0, 0x2000_0000),
    board("cortex-m3", "thumbv7m-none-eabi", "", "mps2-an385", 0, 0x2000_0000),
    board("mps2-an386", "thumbv7em-none-eabihf", "", "mps2-an386", 0, 0x2000_0000),
    board("cortex-m7", "thumbv7em-none-eabihf", "-Ctarget-cpu=cortex-m7", "mps2-an500", 0, 0x2000_0000),
    board("cortex-m33", "thumbv8m.main-none-eabihf", "", "mps2-an505", 0x1000_0000, 0x3800_0000),
    board("cortex-m55", "thumbv8m.main-none-eabihf", "", "mps3-an547", 0, 0x2000_0000),
    board("cortex-r52", "armv8r-none-eabihf", "", "mps3-an536", 0x2000_0000, 0x2100_0000),
    board("riscv32imac", "riscv32imac-unknown-none-elf", "", "virt -bios none", 0x8000_0000, 0x8100_0000),
    board("riscv32imafc", "riscv32imafc-unknown-none-elf", "", "virt -bios none", 0x8000_0000, 0x8100_0000),
    board("riscv64gc", "riscv64gc-unknown-none-elf", "", "virt -bios none", 0x8000_0000, 0x8100_0000),
    board("aarch64", "aarch64-unknown-none", "", "virt -cpu cortex-a53 -nic none", 0x4020_0000, 0x4120_0000),
    Target { name: "wasm32", control: None, runner: Runner::Wasm },
    Target { name: "libtorch-exact", control: None, runner: Runner::Libtorch(None) },
    Target { name: "libtorch-cuda", control: None, runner: Runner::Libtorch(Some("cuda")) },
    control("x86_64-fused", "fused", "X of Spectral"),
    control(FLUSHED, "flushed", "operation"),
];

const AVX512: &str = "x86_64-avx512";
const FLUSHED: &str = "x86_64-flushed";
const WASM: &str = "wasm32-unknown-unknown";

const fn native(name: &'static str, rustflags: &'static str) -> Target {
    Target { name, control: None, runner: Runner::Native { argument: None, rustflags } }
}

const fn control(name: &'static str, argument: &'static str, array: &'static str) -> Target {
    Target { name, control: Some(array), runner: Runner::Native { argument: Some(argument), rustflags: "" } }
}

const fn board(
    name: &'static str,
    triple: &'static str,
    rustflags: &'static str,
    machine: &'static str,
    flash: u32,
    ram: u32,
) -> Target {
    let board = Board { triple, rustflags, machine, flash, ram };
    Target { name, control: None, runner: Runner::Emulated(board) }
}

impl Target {
    /// Returns the emulated board, if the target is one.
    pub fn board(&self) -> Option<&Board> {
        match &self.runner {
            Runner::Emulated(board) => Some(board),
            _ => None,
        }
    }

    /// Returns the target triple whose standard library is needed, unless it is this machine's own.
    pub fn triple(&self) -> Option<&'static str> {
        match &self.runner {
            Runner::Emulated(board) => Some(board.triple),
            Runner::Wasm => Some(WASM),
            Runner::Native { .. } | Runner::Libtorch(_) => None,
        }
    }

    /// Returns the kind of start of the conformance program, such as `cortex-m` or `wasm`.
    pub fn kind(&self) -> &'static str {
        match &self.runner {
            Runner::Emulated(board) => board.start(),
            Runner::Wasm => "wasm",
            Runner::Native { .. } | Runner::Libtorch(_) => "native",
        }
    }

    /// Returns the reason why this machine cannot run the target, if there is one.
    pub fn skipped(&self) -> Option<&'static str> {
        match self.name {
            AVX512 if !has_avx512() => Some("this machine has no AVX-512"),
            FLUSHED if !cfg!(target_arch = "x86_64") => Some("flushing of subnormals is implemented only for x86_64"),
            _ => None,
        }
    }

    /// True if a conformance program is built for this target, rather than shared with another one.
    pub fn has_program(&self) -> bool {
        self.control.is_none() && !matches!(self.runner, Runner::Libtorch(_))
    }

    /// True if that program is machine code and can run on this machine or an emulated board.
    pub fn has_machine_code(&self) -> bool {
        self.has_program() && !matches!(self.runner, Runner::Wasm) && self.skipped().is_none()
    }

    /// Runs the program and returns what it prints. If it finds that it cannot run, the only line is [`SKIPPED`] and
    /// the reason.
    pub fn lines(&self) -> Result<Vec<String>> {
        let mut command = match &self.runner {
            Runner::Native { argument, .. } => {
                let mut program = Command::new(self.build()?);
                program.args(argument);
                program
            }
            Runner::Emulated(board) => {
                emulator::check(board.emulator(), board.model()).context("run `cargo xtask setup`")?;
                Machine { program: board.emulator(), machine: board.machine, bus: None }.command(&self.build()?)
            }
            Runner::Wasm => {
                let mut engine = example(&[project::TESTS], "wasm")?;
                engine.arg(self.build()?);
                engine
            }
            Runner::Libtorch(argument) => {
                let mut program = example(&project::TOGETHER, "tensor_conformance")?;
                program.args(argument);
                program
            }
        };
        Ok(process::limited(&mut command, LIMIT)?.lines().map(str::to_owned).collect())
    }

    /// Builds the conformance program for the target and returns its path.
    pub fn build(&self) -> Result<PathBuf> {
        process::run(&mut self.cargo("build")?)?;
        let program = if self.triple() == Some(WASM) { "graftage-bare.wasm" } else { "graftage-bare" };
        let built = firmware::target_folder().join(self.triple().unwrap_or_default()).join("release").join(program);
        // Targets that differ only in a flag are built in the same place. The controls run the reference's program.
        let name = if self.control.is_some() { TARGETS[0].name } else { self.name };
        let kept = project::root().join("target/verify").join(name).join(program);
        project::copy(&built, &kept)?;
        Ok(kept)
    }

    /// Runs clippy on the conformance program as built for the target, warnings as errors.
    pub fn lint(&self) -> Result<()> {
        process::run(self.cargo("clippy")?.args(["--", "-D", "warnings"]))
    }

    /// Returns a cargo command for the conformance program on the target.
    fn cargo(&self, task: &str) -> Result<Command> {
        let mut cargo = process::cargo();
        cargo.args([task, "--quiet", "--release"]).current_dir(project::root().join("tests/bare"));
        cargo.arg("--target-dir").arg(firmware::target_folder());
        cargo.env(
            "RUSTFLAGS",
            match &self.runner {
                Runner::Native { rustflags, .. } => rustflags,
                Runner::Emulated(board) => board.rustflags,
                Runner::Wasm | Runner::Libtorch(_) => "",
            },
        );
        if let Some(triple) = self.triple() {
            toolchain::select(&mut cargo, triple)?;
        }
        if let Some(board) = self.board() {
            cargo.args(["--features", board.start()]);
            for (name, origin) in [("GRAFTAGE_FLASH", board.flash), ("GRAFTAGE_RAM", board.ram)] {
                cargo.env(name, format!("{origin:#x}"));
            }
        }
        Ok(cargo)
    }
}

impl Board {
    /// Returns the QEMU program that has the board.
    pub fn emulator(&self) -> &'static str {
        self.kind().1
    }

    /// Returns the name of the machine in QEMU.
    pub fn model(&self) -> &'static str {
        self.machine.split(' ').next().unwrap_or_default()
    }

    /// Returns the feature of the conformance program that starts the board's processor.
    fn start(&self) -> &'static str {
        self.kind().0
    }

    fn kind(&self) -> (&'static str, &'static str) {
        match self.triple.split('-').next().unwrap_or_default() {
            "aarch64" => ("aarch64", "qemu-system-aarch64"),
            riscv if riscv.starts_with("riscv32") => ("riscv", "qemu-system-riscv32"),
            riscv if riscv.starts_with("riscv64") => ("riscv", "qemu-system-riscv64"),
            arm if arm.starts_with("arm") => ("cortex-r", "qemu-system-arm"),
            _ => ("cortex-m", "qemu-system-arm"),
        }
    }
}

/// Builds an example of these packages of the workspace, which may take minutes, and returns the command that runs it.
pub fn example(packages: &[&str], name: &str) -> Result<Command> {
    let mut cargo = process::cargo();
    cargo.args(["build", "--quiet", "--release", "--example", name]).args(packages);
    process::run(cargo.current_dir(project::root()))?;
    let mut example = Command::new(project::root().join("target/release/examples").join(name));
    example.current_dir(project::root());
    Ok(example)
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    // Processors with these features have the rest of x86-64-v4.
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512cd")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx512() -> bool {
    false
}
