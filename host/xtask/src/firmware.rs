//! `cargo xtask firmware`: builds the firmware for a board, shows its memory use, runs it and flashes it.

mod probe;

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use graftage_boards::elf::Firmware;
use graftage_boards::store::Store;
use graftage_boards::{BOARDS, Board, DEFAULT, Runs, elf, files, uf2};
use probe::{Chip, Erase};

use crate::{console, process, project, toolchain};

/// Tasks of `cargo xtask firmware`.
#[derive(Subcommand)]
pub enum Task {
    /// Build the firmware
    Build {
        #[command(flatten)]
        what: What,
        /// Build it for every board
        #[arg(long, conflicts_with = "board")]
        all: bool,
    },
    /// Prove that no adaptation can panic: link all that core does on a board, for every board's target, with panics
    /// as errors
    Prove,
    /// Build the firmware and show how much flash and RAM it takes
    Size {
        #[command(flatten)]
        what: What,
    },
    /// Build the firmware and run it: in the emulator with its link on a TCP port of this machine, or on a board at a
    /// debug probe
    Run {
        #[command(flatten)]
        what: What,
        /// Weights image, as `graftage graft` writes it; an emulated board forgets it, so needs it each time
        #[arg(long)]
        image: Option<PathBuf>,
        /// File with the EEPROMs of an emulated board, in which it keeps what it learns; created if missing
        #[arg(long, value_name = "FILE")]
        store: Option<PathBuf>,
        /// TCP port of the emulated board's link
        #[arg(long, default_value_t = 7310)]
        port: u16,
        /// Erase everything on a real board if it is locked
        #[arg(long)]
        erase_all: bool,
    },
    /// Build the firmware and write it to a board at a debug probe
    Flash {
        #[command(flatten)]
        what: What,
        /// Weights image to write as well, as `graftage graft` writes it
        #[arg(long)]
        image: Option<PathBuf>,
        /// Erases everything on the board if it is locked
        #[arg(long)]
        erase_all: bool,
    },
    /// Builds the firmware and writes it with an image to a UF2 file, which a board takes as a disk, without a debug
    /// probe
    Uf2 {
        #[command(flatten)]
        what: What,
        /// Weights image, as `graftage graft` writes it
        #[arg(long)]
        image: PathBuf,
        /// UF2 file to write
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
        /// Replaces an existing file
        #[arg(long)]
        force: bool,
    },
}

/// Firmware to build.
#[derive(Args)]
pub struct What {
    /// Board to build for
    #[arg(long, value_parser = Board::find, default_value = DEFAULT.name)]
    board: &'static Board,
    /// Type of the network, as `graftage graft` writes it; the demo's by default
    #[arg(long)]
    network: Option<PathBuf>,
}

impl What {
    /// Builds the firmware, with room for the image. Returns the path and the description of the ELF file.
    fn build(&self, image: Option<&Path>) -> Result<(PathBuf, Firmware)> {
        let length = image.map_or(Ok(0), length)?;
        let elf = build(self.board, self.network.as_deref())?.join("adapt");
        let firmware = read(&elf)?;
        firmware.fits(length)?;
        Ok((elf, firmware))
    }
}

/// Runs a task.
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
        Task::Prove => prove(),
        Task::Size { what } => {
            let (_, firmware) = what.build(None)?;
            console::say(&firmware.to_string());
            Ok(())
        }
        Task::Run { what, image, store, port, erase_all } => match &what.board.runs {
            Runs::Emulated(machine) => {
                let image = image.context("--image IMAGE is missing: an emulated board has no image of its own")?;
                let (elf, firmware) = what.build(Some(&image))?;
                let identity = graftage_boards::identity(&std::fs::read(&image)?);
                let store = store.map(|store| Store::open(&store, &firmware, identity)).transpose()?;
                console::say(&format!(
                    "reach the board with `graftage adapt --port tcp:127.0.0.1:{port} …`; stop it with Ctrl-C"
                ));
                let serial = format!("tcp:127.0.0.1:{port},server=on,wait=off");
                let mut qemu = machine.linked(&firmware, &elf, &serial, Some(&image), store.as_ref());
                // Standard output carries the log, which only its decoder can read.
                Err(process::become_it(qemu.stdout(Stdio::null())))
            }
            Runs::Probed { chip, .. } => {
                if store.is_some() {
                    bail!("--store is for emulated boards: {} keeps what it learns in its own flash", what.board.name);
                }
                let (chip, elf) = prepared(&what, chip, image.as_deref(), erase_all)?;
                chip.run(&elf)
            }
        },
        Task::Flash { what, image, erase_all } => {
            let Runs::Probed { chip, .. } = &what.board.runs else {
                bail!("{} is emulated: start it with `cargo xtask firmware run`", what.board.name);
            };
            let (chip, elf) = prepared(&what, chip, image.as_deref(), erase_all)?;
            chip.load(&elf)?;
            chip.reset()
        }
        Task::Uf2 { what, image, output, force } => {
            let Runs::Probed { uf2: Some(family), .. } = what.board.runs else {
                let boards = BOARDS.iter().filter(|board| matches!(board.runs, Runs::Probed { uf2: Some(_), .. }));
                let boards: Vec<_> = boards.map(|board| board.name).collect();
                bail!("{} does not take UF2 files: --board {} does", what.board.name, boards.join(" or "));
            };
            claim(&output, force, [Some(&image), what.network.as_ref()].into_iter().flatten())?;
            let (elf, firmware) = what.build(Some(&image))?;
            let (program, image) = (std::fs::read(&elf)?, std::fs::read(&image)?);
            let mut segments = elf::segments(&program)?;
            segments.push(elf::Segment { address: firmware.image.start, bytes: &image });
            let file = uf2::encode(family, &segments)?;
            files::write(&output, &file, force).map_err(|error| match error.kind() {
                ErrorKind::AlreadyExists => there_already(&output),
                _ => anyhow::Error::new(error).context(format!("cannot write {}", output.display())),
            })?;
            console::say(&format!("wrote {}: {} bytes for {}", output.display(), file.len(), what.board.name));
            Ok(())
        }
    }
}

/// Refuses a path that cannot be an output, before a build that takes minutes.
fn claim<'a>(output: &Path, force: bool, mut inputs: impl Iterator<Item = &'a PathBuf>) -> Result<()> {
    let shown = output.display();
    if output.is_dir() {
        bail!("{shown}: is a folder, but the output must be a file");
    }
    let folder = files::folder(output);
    if !folder.is_dir() {
        bail!("{shown}: there is no folder {}: create it first", folder.display());
    }
    let same =
        |input: &PathBuf| input.canonicalize().is_ok_and(|input| output.canonicalize().is_ok_and(|o| o == input));
    if inputs.any(same) {
        bail!("{shown}: is also an input of this command; name another output");
    }
    if !force && output.symlink_metadata().is_ok() {
        return Err(there_already(output));
    }
    Ok(())
}

/// Returns the error for an existing file that is not to be replaced.
fn there_already(path: &Path) -> anyhow::Error {
    anyhow::anyhow!("{}: already exists; use --force to replace it, or name another output", path.display())
}

/// Builds the firmware, opens the chip and writes the image to it. Returns the chip and the program, to be written
/// next.
fn prepared(what: &What, chip: &'static str, image: Option<&Path>, erase_all: bool) -> Result<(Chip, PathBuf)> {
    let chip = Chip::at_probe(chip)?;
    let (elf, firmware) = what.build(image)?;
    chip.open(&elf, if erase_all { Erase::All } else { Erase::Ask })?;
    if let Some(image) = image {
        chip.write(image, firmware.image.start)?;
    }
    Ok((chip, elf))
}

/// Builds a board's firmware and refuses one that does not fit. Returns the folder with its programs: `adapt`, and for
/// the demo's network on the default board also `bench` and `sense`.
pub fn build(board: &Board, network: Option<&Path>) -> Result<PathBuf> {
    let programs = if board == DEFAULT && network.is_none() { &["adapt", "bench", "sense"][..] } else { &["adapt"] };
    let mut cargo = cargo("build", board, programs)?;
    if let Some(network) = network {
        let network = std::path::absolute(network)?;
        if !network.is_file() {
            bail!("{} is not a file: write one with `graftage graft`", network.display());
        }
        cargo.env("GRAFTAGE_NETWORK", network);
    }
    if let Err(error) = process::run(&mut cargo) {
        // The messages of the first run went straight to the user, so it runs again.
        let heard = process::heard(&mut cargo, Duration::from_secs(600))?;
        let Some(excess) = overflow(&heard.stderr) else { return Err(error) };
        bail!(
            "a firmware for this network does not fit {}: {excess}; use a smaller network or another board",
            board.name
        );
    }
    let (built, kept) = (built(board), folder(board));
    // Boards with the same target are built in the same place.
    for program in programs {
        project::copy(&built.join(program), &kept.join(program))?;
    }
    let elf = kept.join("adapt");
    read(&elf)?.fits(0).with_context(|| format!("{} does not fit", elf.display()))?;
    Ok(kept)
}

/// Returns by how much a program does not fit, if that is what the linker says.
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

/// Links, with the settings of the firmware, a program that cannot be linked if an adaptation can panic.
pub fn prove() -> Result<()> {
    let targets: BTreeSet<_> = BOARDS.iter().map(|board| board.target).collect();
    targets.into_iter().try_for_each(|target| {
        let mut cargo = in_firmware("build", target)?;
        process::run(cargo.args(["--quiet", "--package", "graftage-proof"]))
            .with_context(|| format!("an adaptation can panic on {target}"))?;
        console::say(&format!("no adaptation can panic on {target}"));
        Ok(())
    })
}

/// Returns the folder with a board's built programs.
pub fn folder(board: &Board) -> PathBuf {
    target_folder().join("boards").join(board.name)
}

/// Returns the folder in which cargo builds the programs of a board.
pub fn built(board: &Board) -> PathBuf {
    target_folder().join(board.target).join("release")
}

/// Returns a cargo command for programs of a board. If `programs` is empty, the caller chooses them.
pub fn cargo(task: &str, board: &Board, programs: &[&str]) -> Result<Command> {
    let mut cargo = in_firmware(task, board.target)?;
    cargo.args(["--features", board.name]).args(programs.iter().flat_map(|program| ["--bin", program]));
    Ok(cargo)
}

/// Returns a cargo command for a target in the firmware's workspace.
pub fn in_firmware(task: &str, target: &str) -> Result<Command> {
    let mut cargo = process::cargo();
    cargo.args([task, "--release", "--target-dir"]).arg(target_folder());
    cargo.current_dir(project::root().join("firmware"));
    toolchain::select(&mut cargo, target)?;
    Ok(cargo)
}

/// Returns the folder in which cargo builds for bare machines. Sharing it compiles common dependencies once.
pub fn target_folder() -> PathBuf {
    project::root().join("firmware/target")
}

/// Reads the description of a firmware from its ELF file.
fn read(elf: &Path) -> Result<Firmware> {
    Ok(Firmware::read(&std::fs::read(elf)?)?)
}

/// Returns the size of an image, in bytes.
fn length(image: &Path) -> Result<u64> {
    let found = std::fs::metadata(image).ok().filter(|found| found.is_file());
    let found = found.with_context(|| format!("{} is not a file: write one with `graftage graft`", image.display()))?;
    Ok(found.len())
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
    fn a_firmware_that_does_not_fit_says_by_how_much() {
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

    #[test]
    fn a_store_is_for_emulated_boards_and_a_uf2_file_for_those_that_take_one() {
        let refused = |arguments: &str| run(parse(arguments).unwrap()).unwrap_err().to_string();
        let error = refused("run --board pico2 --store x");
        assert!(error.contains("--store") && error.contains("pico2"), "{error}");
        for board in BOARDS.iter().filter(|board| board.name != "pico2") {
            let error = refused(&format!("uf2 --board {} --image i --output /none/x", board.name));
            assert!(error.contains(board.name) && error.contains("--board pico2 does"), "{error}");
        }
    }

    #[test]
    fn an_impossible_output_of_a_uf2_file_is_refused_before_the_build_and_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let there = folder.path().join("there");
        std::fs::write(&there, "mine").unwrap();
        let cases = [
            ("there", "i", "", "already exists; use --force to replace it, or name another output"),
            ("there", "there", "--force", "is also an input of this command; name another output"),
            ("", "i", "--force", "is a folder, but the output must be a file"),
            ("none/x", "i", "", "there is no folder"),
        ];
        for (output, image, force, expected) in cases {
            let (output, image) = (folder.path().join(output), folder.path().join(image));
            let arguments = format!("uf2 --board pico2 --image {} --output {}", image.display(), output.display());
            let arguments = [arguments.as_str(), force].join(" ");
            let error = run(parse(arguments.trim()).unwrap()).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{}: {expected}", output.display())), "{error}");
        }
        assert_eq!(std::fs::read_to_string(there).unwrap(), "mine");
    }
}
