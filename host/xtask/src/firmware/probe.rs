//! Chip at a debug probe, reached with `probe-rs`.

use std::ffi::OsString;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process::{self, Heard};

/// Time limit of a query to the chip.
const LIMIT: Duration = Duration::from_secs(60);

/// Address that can be read on every Cortex-M, whatever its flash holds: the architecture has RAM there.
const RAM: &str = "0x20000000";

/// Message of probe-rs about a chip whose debug port is closed.
const CLOSED: &str = "lacked the permission to do so: erase_all";

/// Chip at a debug probe.
pub struct Chip {
    probe_rs: OsString,
    name: &'static str,
}

/// User's consent to erase a closed chip.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Erase {
    /// Consent is given.
    All,
    /// Consent is not given yet: the user is asked.
    Ask,
}

impl Chip {
    /// Returns the chip with this name in probe-rs, at a probe.
    ///
    /// # Errors
    /// If probe-rs is not installed, or sees no probe.
    pub fn at_probe(name: &'static str) -> Result<Self> {
        let chip = Self { probe_rs: "probe-rs".into(), name };
        let list = process::output(Command::new(&chip.probe_rs).arg("list"))
            .context("probe-rs is needed to reach a real board: https://probe.rs/docs/getting-started/installation")?;
        if list.contains("No debug probes were found") {
            bail!(
                "probe-rs finds no debug probe: plug in the board's debugger, or connect a probe to its debug pins (on \
                 Linux, udev rules give you access to it: https://probe.rs/docs/getting-started/probe-setup)"
            );
        }
        Ok(chip)
    }

    /// Opens the debug port if it is closed. Opening it erases the chip, so it takes the user's consent. The program in
    /// `elf` is written at once and started, so that it can keep the port open.
    ///
    /// # Errors
    /// If there is no consent, in which case nothing has changed, or if probe-rs fails.
    pub fn open(&self, elf: &Path, erase: Erase) -> Result<()> {
        if self.is_open()? {
            return Ok(());
        }
        let terminal = io::stdin().is_terminal().then(|| (io::stdin().lock(), io::stderr()));
        consent(self.name, erase, terminal)?;
        process::run(self.command("download").arg("--allow-erase-all").arg(elf))?;
        self.reset()
    }

    /// Returns whether a probe may read the chip.
    fn is_open(&self) -> Result<bool> {
        let mut read = self.command("read");
        read.args(["b8", RAM, "1"]);
        let Heard { status, stderr } = process::heard(&mut read, LIMIT)?;
        match status.success() {
            true => Ok(true),
            false if stderr.contains(CLOSED) => Ok(false),
            false => bail!("probe-rs cannot reach {}: {}", self.name, stderr.trim().replace('\n', "; ")),
        }
    }

    /// Writes the bytes of a file to an address.
    ///
    /// # Errors
    /// If probe-rs fails.
    pub fn write(&self, file: &Path, address: u64) -> Result<()> {
        let address = format!("{address:#x}");
        process::run(self.command("download").args(["--binary-format", "bin", "--base-address", &address]).arg(file))
    }

    /// Writes a program.
    ///
    /// # Errors
    /// If probe-rs fails.
    pub fn load(&self, elf: &Path) -> Result<()> {
        process::run(self.command("download").arg(elf))
    }

    /// Writes a program, starts it and shows its log.
    ///
    /// # Errors
    /// If probe-rs fails.
    pub fn run(&self, elf: &Path) -> Result<()> {
        process::run(self.command("run").arg(elf))
    }

    /// Resets the chip, which starts the program.
    ///
    /// # Errors
    /// If probe-rs fails.
    pub fn reset(&self) -> Result<()> {
        process::run(&mut self.command("reset"))
    }

    fn command(&self, task: &str) -> Command {
        let mut command = Command::new(&self.probe_rs);
        command.args([task, "--chip", self.name]);
        command
    }
}

/// Obtains the user's consent to erase a chip, by a question on the terminal if there is one.
fn consent(chip: &str, erase: Erase, terminal: Option<(impl BufRead, impl Write)>) -> Result<()> {
    let what = format!(
        "{chip} is locked: writing to it erases all that it holds: program, image, saved state and journal (which \
         `graftage record` would fetch)"
    );
    match (erase, terminal) {
        (Erase::All, _) => Ok(()),
        (Erase::Ask, Some((mut answer, mut question))) => {
            write!(question, "{what}. Erase it? [y/N] ").and_then(|()| question.flush())?;
            let mut line = String::new();
            answer.read_line(&mut line)?;
            if !["y", "yes"].contains(&line.trim().to_lowercase().as_str()) {
                bail!("{chip} is unchanged: nothing was erased or written");
            }
            Ok(())
        }
        (Erase::Ask, None) => bail!("{what}; use --erase-all to allow this"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use tempfile::TempDir;

    /// Stand-in for probe-rs 0.29 at an nRF52840 of revision 3, for the commands used here. Its folder stands for the
    /// chip: `port` exists while the debug port is open, `program` and each `ADDRESS` hold what was written. A reset
    /// closes the port unless a program opens it. The messages are those of probe-rs.
    const PROBE_RS: &str = r#"#!/bin/sh
cd "$(dirname "$0")" && echo "$*" >> calls
task=$1
case "$*" in *--chip\ nRF52840_xxAA*) ;; *) echo "error: chip" >&2; exit 2;; esac
if [ -e absent ]; then
    printf 'Error: Connecting to the chip was unsuccessful.\n\nCaused by:\n    0: No probe responded\n' >&2
    exit 1
fi
if [ ! -e port ]; then
    echo " WARN probe_rs::vendor::nordicsemi::sequences::nrf52: Core is locked." \
        "Erase procedure will be started to unlock it." >&2
    case "$*" in
    *--allow-erase-all*) rm -f program 0x*; touch port;;
    *)
        printf 'Error: Connecting to the chip was unsuccessful.\n\nCaused by:\n' >&2
        printf '    0: An ARM specific error occurred.\n' >&2
        printf '    1: An operation could not be performed because it lacked the permission to do so: erase_all\n' >&2
        exit 1;;
    esac
fi
for last; do :; done
case "$task" in
read) echo ff;;
download)
    case "$*" in
    *--base-address*) cp "$last" "$(echo "$*" | sed 's/.*--base-address \([^ ]*\).*/\1/')";;
    *) cp "$last" program;;
    esac;;
reset) [ -e program ] || rm port;;
esac
"#;

    /// Returns a locked chip in a folder, with what it held before.
    fn chip() -> (TempDir, Chip) {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("probe-rs");
        fs::write(&program, PROBE_RS).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(folder.path().join("elf"), "program").unwrap();
        fs::write(folder.path().join("image"), "image").unwrap();
        fs::write(folder.path().join("0xc0000"), "state").unwrap();
        let chip = Chip { probe_rs: program.into(), name: "nRF52840_xxAA" };
        (folder, chip)
    }

    fn calls(folder: &TempDir) -> Vec<String> {
        let calls = fs::read_to_string(folder.path().join("calls")).unwrap_or_default();
        calls
            .lines()
            .map(|line| line.replace(" --chip nRF52840_xxAA", "").replace(folder.path().to_str().unwrap(), ""))
            .collect()
    }

    #[test]
    fn a_locked_chip_is_erased_once_and_only_with_consent() {
        let (folder, chip) = chip();
        let (elf, image, state) =
            (folder.path().join("elf"), folder.path().join("image"), folder.path().join("0xc0000"));
        // Standard input of tests is usually no terminal; on one, the question would wait for ever.
        if !io::stdin().is_terminal() {
            let error = chip.open(&elf, Erase::Ask).unwrap_err().to_string();
            for words in ["locked", "erases", "image, saved state and journal", "--erase-all"] {
                assert!(error.contains(words), "{error}");
            }
            assert!(state.exists() && !error.contains('\n'), "{error}");
        }
        fs::remove_file(folder.path().join("calls")).ok();
        chip.open(&elf, Erase::All).unwrap();
        chip.write(&image, 0x8_0000).unwrap();
        chip.load(&elf).unwrap();
        chip.reset().unwrap();
        assert!(!state.exists());
        assert_eq!(fs::read_to_string(folder.path().join("0x80000")).unwrap(), "image");
        assert_eq!(fs::read_to_string(folder.path().join("program")).unwrap(), "program");
        let expected = [
            "read b8 0x20000000 1",
            "download --allow-erase-all /elf",
            "reset",
            "download --binary-format bin --base-address 0x80000 /image",
            "download /elf",
            "reset",
        ];
        assert_eq!(calls(&folder), expected);
    }

    #[test]
    fn an_open_chip_is_never_erased() {
        let (folder, chip) = chip();
        fs::write(folder.path().join("port"), "").unwrap();
        chip.open(&folder.path().join("elf"), Erase::All).unwrap();
        assert!(folder.path().join("0xc0000").exists());
        assert_eq!(calls(&folder), ["read b8 0x20000000 1"]);
    }

    #[test]
    fn an_obstacle_between_probe_rs_and_the_chip_is_told_in_a_line() {
        let (folder, chip) = chip();
        fs::write(folder.path().join("absent"), "").unwrap();
        let error = chip.open(&folder.path().join("elf"), Erase::All).unwrap_err().to_string();
        assert!(error.contains("cannot reach nRF52840_xxAA") && error.contains("No probe responded"), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }

    #[test]
    fn only_a_yes_is_one() {
        for (answer, expected) in
            [("y\n", true), ("Yes\n", true), ("n\n", false), ("\n", false), ("", false), ("yep\n", false)]
        {
            let mut question = Vec::new();
            let given = consent("chip", Erase::Ask, Some((answer.as_bytes(), &mut question))).is_ok();
            assert_eq!(given, expected, "{answer:?}");
            let question = String::from_utf8(question).unwrap();
            assert!(question.starts_with("chip is locked") && question.ends_with("Erase it? [y/N] "), "{question}");
        }
        assert!(consent("chip", Erase::All, None::<(io::Empty, io::Sink)>).is_ok());
    }
}
