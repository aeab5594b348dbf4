//! `cargo xtask firmware`: builds it for a board, shows what it takes, runs and flashes it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use graftage_boards::elf::Firmware;
use graftage_boards::{BOARDS, Board, DEFAULT, Runs};

use crate::setup::target;
use crate::verify::target::{TARGETS, Target};
use crate::{console, outside, process, project};

/// The profile of what is shipped.
pub const RELEASE: &str = "release";

/// What to do with the firmware.
#[derive(Subcommand)]
pub enum Task {
    /// Build it
    Build {
        #[command(flatten)]
        what: What,
        /// For every board
        #[arg(long, conflicts_with = "board")]
        all: bool,
    },
    /// Run clippy on it for the emulated boards, on the conformance program for every kind of target and on the crate outside, warnings as errors
    Lint {
        /// For every board
        #[arg(long)]
        all: bool,
    },
    /// Link all that core does on a board where a panic is an error, for the target of every board
    Prove,
    /// Build it, and show what it takes of flash and RAM
    Size {
        #[command(flatten)]
        what: What,
    },
    /// Build it, and run it: in the emulator with its link on a TCP port of this machine, or on a board at a debug probe
    Run {
        #[command(flatten)]
        what: What,
        /// The weights image, as `graftage graft` writes it; an emulated board forgets it, so needs it each time
        #[arg(long)]
        image: Option<PathBuf>,
        /// The port
        #[arg(long, default_value_t = 7310)]
        port: u16,
    },
    /// Build it, and write it to a board at a debug probe
    Flash {
        #[command(flatten)]
        what: What,
        /// The weights image, as `graftage graft` writes it, to be written as well
        #[arg(long)]
        image: Option<PathBuf>,
    },
}

/// What to build.
#[derive(Args)]
pub struct What {
    /// The board
    #[arg(long, value_parser = Board::find, default_value = DEFAULT.name)]
    board: &'static Board,
    /// The type of the network, as `graftage graft` writes it; the demo's unless given
    #[arg(long)]
    network: Option<PathBuf>,
}

impl What {
    /// Builds it, with room for that image; returns the ELF file and what it says.
    fn build(&self, image: Option<&Path>) -> Result<(PathBuf, Firmware)> {
        let length = image.map_or(Ok(0), length)?;
        let elf = build(self.board, self.network.as_deref())?.join("adapt");
        let firmware = read(&elf)?;
        firmware.fits(length)?;
        Ok((elf, firmware))
    }
}

/// Does it.
pub fn run(task: Task) -> Result<()> {
    match task {
        Task::Build { what, all } => {
            let boards = if all { BOARDS.iter().collect() } else { vec![what.board] };
            boards.into_iter().try_for_each(|board| {
                let elf = build(board, what.network.as_deref())?.join("adapt");
                console::say(&format!("built {}", elf.display()));
                Ok(())
            })
        }
        Task::Lint { all } => {
            BOARDS
                .iter()
                .filter(|board| all || board.machine().is_some())
                .try_for_each(|board| process::run(cargo("clippy", board, RELEASE)?.args(["--", "-D", "warnings"])))?;
            // One of each kind: the others are the same source.
            let mut linted = BTreeSet::new();
            TARGETS
                .iter()
                .filter(|target| target.has_program() && target.skipped().is_none() && linted.insert(target.kind()))
                .try_for_each(Target::lint)?;
            outside::lint()
        }
        Task::Prove => prove(),
        Task::Size { what } => {
            let (_, firmware) = what.build(None)?;
            console::say(&firmware.to_string());
            Ok(())
        }
        Task::Run { what, image, port } => {
            match &what.board.runs {
                Runs::Emulated(machine) => {
                    let image = image.context("--image IMAGE is missing: an emulated board has no other")?;
                    let (elf, firmware) = what.build(Some(&image))?;
                    console::say(&format!(
                        "`graftage adapt --port tcp:127.0.0.1:{port} …` reaches the board; Ctrl-C ends it"
                    ));
                    let serial = format!("tcp:127.0.0.1:{port},server=on,wait=off");
                    // The log, which only its decoder can read, is on standard output.
                    process::run(machine.linked(&firmware, &elf, &serial, Some(&image)).stdout(Stdio::null()))
                }
                Runs::Probed { chip } => {
                    probe()?;
                    let (elf, firmware) = what.build(image.as_deref())?;
                    write_image(image.as_deref(), &firmware, chip)?;
                    process::run(Command::new("probe-rs").args(["run", "--chip", chip]).arg(&elf))
                }
            }
        }
        Task::Flash { what, image } => {
            let Runs::Probed { chip } = &what.board.runs else {
                bail!("{} is emulated: `cargo xtask firmware run` starts it", what.board.name);
            };
            probe()?;
            let (elf, firmware) = what.build(image.as_deref())?;
            write_image(image.as_deref(), &firmware, chip)?;
            process::run(Command::new("probe-rs").args(["download", "--chip", chip]).arg(&elf))?;
            process::run(Command::new("probe-rs").args(["reset", "--chip", chip]))
        }
    }
}

/// Builds all programs of the firmware that a board has, for a network, and refuses what does not fit it; returns the folder
/// that holds them.
pub fn build(board: &Board, network: Option<&Path>) -> Result<PathBuf> {
    let mut cargo = cargo("build", board, RELEASE)?;
    if let Some(network) = network {
        let network = std::path::absolute(network)?;
        if !network.is_file() {
            bail!("{} is no file: `graftage graft` writes one", network.display());
        }
        cargo.env("GRAFTAGE_NETWORK", network);
    }
    if let Err(error) = process::run(&mut cargo) {
        // Once more for what it said, which went straight to the user.
        let (_, said) = process::heard(&mut cargo, Duration::from_secs(600))?;
        let Some(excess) = overflow(&said) else { return Err(error) };
        bail!(
            "a firmware for this network does not fit {}: {excess}; take a smaller network or another board",
            board.name
        );
    }
    let (built, kept) = (built(board, RELEASE), folder(board));
    // Boards of one target build to the same place.
    for program in programs(board) {
        project::copy(&built.join(program), &kept.join(program))?;
    }
    let elf = kept.join("adapt");
    read(&elf)?.fits(0).with_context(|| format!("{} does not fit", elf.display()))?;
    Ok(kept)
}

/// By how much a program does not fit, where that is what the linker says.
fn overflow(said: &str) -> Option<String> {
    let mut most = BTreeMap::new();
    for line in said.lines() {
        let Some((_, rest)) = line.split_once("will not fit in region '") else { continue };
        let (region, rest) = rest.split_once("': overflowed by ")?;
        let bytes: u64 = rest.split_once(' ')?.0.parse().ok()?;
        let excess = most.entry(region).or_insert(0);
        *excess = bytes.max(*excess);
    }
    let regions: Vec<_> =
        most.iter().map(|(region, bytes)| format!("{bytes} bytes more than its {region} has")).collect();
    (!regions.is_empty()).then(|| regions.join(", "))
}

/// Links the program that cannot be linked where an adaptation can panic, as the firmware is built.
pub fn prove() -> Result<()> {
    let targets: BTreeSet<_> = BOARDS.iter().map(|board| board.target).collect();
    targets.into_iter().try_for_each(|target| {
        let mut cargo = in_firmware("build", target, RELEASE)?;
        process::run(cargo.args(["--quiet", "--package", "graftage-proof"]))
            .with_context(|| format!("an adaptation can panic on {target}"))?;
        console::say(&format!("no adaptation can panic on {target}"));
        Ok(())
    })
}

/// The folder that holds a board's programs once they are built.
pub fn folder(board: &Board) -> PathBuf {
    target_folder().join("boards").join(board.name)
}

/// The programs that a board has.
fn programs(board: &Board) -> &'static [&'static str] {
    if board == DEFAULT { &["adapt", "bench", "sense"] } else { &["adapt"] }
}

/// Where cargo builds the programs of a board with that profile.
pub fn built(board: &Board, profile: &str) -> PathBuf {
    target_folder().join(board.target).join(profile)
}

/// Cargo at work on the programs of a board.
pub fn cargo(task: &str, board: &Board, profile: &str) -> Result<Command> {
    let mut cargo = in_firmware(task, board.target, profile)?;
    cargo.args(["--bins", "--features", board.name]);
    Ok(cargo)
}

/// Cargo at work on the firmware's workspace for a target.
pub fn in_firmware(task: &str, target: &str, profile: &str) -> Result<Command> {
    let mut cargo = process::cargo();
    cargo.args([task, "--profile", profile, "--target-dir"]).arg(target_folder());
    cargo.current_dir(project::root().join("firmware"));
    target::select(&mut cargo, target)?;
    Ok(cargo)
}

fn target_folder() -> PathBuf {
    project::root().join("firmware/target")
}

/// What an ELF file says.
fn read(elf: &Path) -> Result<Firmware> {
    Ok(Firmware::read(&std::fs::read(elf)?)?)
}

/// The bytes of an image.
fn length(image: &Path) -> Result<u64> {
    let found = std::fs::metadata(image).ok().filter(|found| found.is_file());
    let found = found.with_context(|| format!("{} is no file: `graftage graft` writes one", image.display()))?;
    Ok(found.len())
}

/// That probe-rs is there and sees a probe.
fn probe() -> Result<()> {
    let list = process::output(Command::new("probe-rs").arg("list"))
        .context("a real board is reached with probe-rs: https://probe.rs/docs/getting-started/installation")?;
    if list.contains("No debug probes were found") {
        bail!(
            "probe-rs finds no debug probe: plug the board in by its debugger's USB port (on Linux, its udev rules let \
               you use it: https://probe.rs/docs/getting-started/probe-setup)"
        );
    }
    Ok(())
}

/// Writes an image where the firmware looks for it.
fn write_image(image: Option<&Path>, firmware: &Firmware, chip: &str) -> Result<()> {
    let Some(image) = image else { return Ok(()) };
    let address = format!("{:#x}", firmware.image.start);
    let mut probe = Command::new("probe-rs");
    probe.args(["download", "--chip", chip, "--binary-format", "bin", "--base-address", &address]);
    process::run(probe.arg(image))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Arguments {
        #[command(subcommand)]
        task: Task,
    }

    fn parse(arguments: &str) -> Result<Task, clap::Error> {
        Ok(Arguments::try_parse_from(format!("firmware {arguments}").split(' '))?.task)
    }

    #[test]
    fn what_does_not_fit_says_by_how_much() {
        let said = "rust-lld: error: section '.bss' will not fit in region 'RAM': overflowed by 300580 bytes\n\
            rust-lld: error: section '.uninit' will not fit in region 'RAM': overflowed by 301604 bytes\n\
            rust-lld: error: section '.text' will not fit in region 'FLASH': overflowed by 8 bytes\n";
        let expected = "8 bytes more than its FLASH has, 301604 bytes more than its RAM has";
        assert_eq!(overflow(said).unwrap(), expected);
        assert_eq!(overflow("error: expected `;`"), None);
    }

    #[test]
    fn the_board_is_the_one_that_is_named_or_else_the_default() {
        for (arguments, expected) in [("size", DEFAULT.name), ("size --board pico2", "pico2")] {
            let Ok(Task::Size { what }) = parse(arguments) else { panic!("{arguments}") };
            assert_eq!(what.board.name, expected);
        }
        let Err(error) = parse("build --board pico3") else { panic!("pico3 is no board") };
        let message = error.to_string();
        assert!(BOARDS.iter().all(|board| message.contains(board.name)), "{message}");
        assert!(parse("build --all").is_ok() && parse("build --all --board pico2").is_err());
    }

    #[test]
    fn boards_of_one_target_do_not_share_a_folder() {
        let folders: BTreeSet<_> = BOARDS.iter().map(folder).collect();
        assert_eq!(folders.len(), BOARDS.len());
    }

    #[test]
    fn an_emulated_board_is_not_flashed() {
        let Err(error) = run(parse("flash --board riscv32-virt").unwrap()) else { panic!("flashed") };
        assert!(error.to_string().contains("firmware run"), "{error}");
    }
}
