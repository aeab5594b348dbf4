//! Runs of other programs. The error of one that fails names its command and says how it ended.

use std::env;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Error, Result, anyhow, bail, ensure};

use crate::console::Ticker;

/// Number of a failed command's last lines that its error shows.
const LAST_LINES: usize = 15;

/// Returns a command for the cargo that runs this program.
pub fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs a command whose output goes straight to the user.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().map_err(|error| cannot_start(command, error))?;
    judge(command, status, String::new(), "").map(drop)
}

/// Replaces this process by a command, so that whatever ends this process ends the command. Returns only if the command
/// cannot be started.
pub fn become_it(command: &mut Command) -> Error {
    let error = command.exec();
    cannot_start(command, error)
}

/// Runs a short command and returns its standard output.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| cannot_start(command, error))?;
    let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    judge(command, output.status, stdout, &stderr)
}

/// Runs a slow command and returns its standard output. Shows `line` and the elapsed seconds, and keeps all output for
/// the error.
pub fn long(line: &str, command: &mut Command, limit: Option<Duration>) -> Result<String> {
    let mut ticker = Ticker::start(line);
    let (status, stdout, stderr) = wait(command, limit, |elapsed| ticker.tick(elapsed))?;
    judge(command, status, stdout, &stderr)
}

/// Runs a command that might never end, and returns its standard output.
pub fn limited(command: &mut Command, limit: Duration) -> Result<String> {
    let (status, stdout, stderr) = wait(command, Some(limit), |_| ())?;
    judge(command, status, stdout, &stderr)
}

/// End of a command that may have failed.
pub struct Heard {
    /// Exit status.
    pub status: ExitStatus,
    /// Standard error.
    pub stderr: String,
}

/// Runs a command that may fail and might never end.
pub fn heard(command: &mut Command, limit: Duration) -> Result<Heard> {
    let (status, _, stderr) = wait(command, Some(limit), |_| ())?;
    Ok(Heard { status, stderr })
}

/// Command that runs in parallel to others. Its output comes in one piece at its end. It is killed if it is dropped
/// before.
pub struct Beside {
    shown: String,
    child: Child,
    said: File,
}

impl Beside {
    /// Starts a command.
    pub fn start(command: &mut Command) -> Result<Self> {
        let said = tempfile::tempfile()?;
        command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said.try_clone()?);
        let child = command.spawn().map_err(|error| cannot_start(command, error))?;
        Ok(Self { shown: shown(command), child, said })
    }

    /// Waits for the end of the command and shows its output. Fails if the command has failed.
    pub fn end(mut self) -> Result<()> {
        let status = self.child.wait()?;
        self.said.rewind()?;
        io::copy(&mut self.said, &mut io::stdout())?;
        ensure!(status.success(), "`{}` failed ({status})", self.shown);
        Ok(())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // The command may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for a command, at most for `limit`. Returns its exit status, its standard output and its standard error.
fn wait(
    command: &mut Command,
    limit: Option<Duration>,
    mut tick: impl FnMut(Duration),
) -> Result<(ExitStatus, String, String)> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let started = Instant::now();
    let mut child = command.spawn().map_err(|error| cannot_start(command, error))?;
    let (stdout, stderr) = (drain(child.stdout.take()), drain(child.stderr.take()));
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((status, collect(&stdout), collect(&stderr)));
        }
        if let Some(limit) = limit.filter(|limit| started.elapsed() > *limit) {
            child.kill()?;
            child.wait()?;
            bail!("`{}` was stopped: it had not ended after {} s", shown(command), limit.as_secs());
        }
        tick(started.elapsed());
        thread::sleep(Duration::from_millis(50));
    }
}

/// Formats a command as a user would type it.
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let quoted = words.map(|word| match word.to_string_lossy() {
        word if word.contains([' ', '$', '\'', '*']) => format!("'{}'", word.replace('\'', r"'\''")),
        word => word.into_owned(),
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// Reads a pipe to its end in a thread, because the command would block once the pipe is full.
fn drain(pipe: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // Keeps what was read before an error.
            let _ = pipe.read_to_end(&mut bytes);
        }
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}

/// Returns what a pipe held. A process that the command left behind may keep the pipe open; it is not waited for.
fn collect(pipe: &Receiver<String>) -> String {
    pipe.recv_timeout(Duration::from_secs(2)).unwrap_or_default()
}

fn cannot_start(command: &Command, error: io::Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound => anyhow!("`{}` is not installed", command.get_program().display()),
        _ => Error::new(error).context(format!("cannot start `{}`", shown(command))),
    }
}

fn judge(command: &Command, status: ExitStatus, stdout: String, stderr: &str) -> Result<String> {
    if status.success() {
        return Ok(stdout);
    }
    let last = last_lines(&format!("{stdout}\n{stderr}"));
    bail!("`{}` failed ({status}){last}", shown(command))
}

/// Formats the last lines that are not empty, each on a line of its own.
fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let first = lines.len().saturating_sub(LAST_LINES);
    lines[first..].iter().map(|line| format!("\n    {line}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_failure_names_the_command_and_shows_its_last_lines_only() {
        for result in [
            output(&mut shell("seq 1 20; echo why >&2; exit 3")),
            long("", &mut shell("seq 1 20; echo why >&2; exit 3"), None),
        ] {
            let error = result.unwrap_err().to_string();
            assert!(error.starts_with("`sh -c 'seq 1 20; echo why >&2; exit 3'` failed (exit status: 3)"), "{error}");
            assert!(error.ends_with("\n    20\n    why"), "{error}");
            assert_eq!(error.lines().count(), 1 + LAST_LINES);
        }
    }

    #[test]
    fn a_program_that_is_missing_is_named() {
        let error = output(Command::new("graftage-none").arg("x")).unwrap_err();
        assert_eq!(error.to_string(), "`graftage-none` is not installed");
    }

    #[test]
    fn a_command_that_does_not_end_is_stopped() {
        let error = limited(&mut shell("exec sleep 100"), Duration::from_millis(100)).unwrap_err();
        assert!(error.to_string().contains("was stopped"), "{error}");
    }

    #[test]
    fn more_output_than_a_pipe_holds_is_returned_whole() {
        let numbers = long("", &mut shell("seq 1 100000"), Some(Duration::from_secs(60))).unwrap();
        assert_eq!(numbers.lines().count(), 100_000);
    }
}
