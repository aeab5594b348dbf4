//! `cargo xtask setup`: gets whatever is missing of the parts that cargo itself does not bring.
//!
//! Everything that it fetches lies in the project's folder `.graftage`. The two things that cannot lie there (a target
//! of the toolchain, a package of the system) are announced before they are touched.

mod apt;
pub mod chromium;
mod compiler;
mod digits;
mod libtorch;
mod pip;
pub mod qemu;
pub mod target;

use std::collections::BTreeSet;
use std::thread;
use std::time::Instant;

use anyhow::{Error, Result, anyhow, bail};
use graftage_boards::BOARDS;

use crate::verify::target::TARGETS;
use crate::{console, project};

/// Part that must be installed.
trait Part {
    /// Returns the name by which the user knows the part.
    fn name(&self) -> String;
    /// Finds the part, or gets it.
    fn obtain(&self) -> Result<Outcome>;
    /// Returns what to do by hand if `obtain` fails.
    fn by_hand(&self) -> String;
}

/// Outcome of obtaining a part, with a few words about it.
enum Outcome {
    Found(String),
    Done(String),
    /// A later part makes this one, from what is there now.
    Deferred(String),
    /// The part cannot be obtained here, and all but a test works without it.
    Skipped(String),
}

/// Gets every part that is missing. A part that fails does not stop the others.
pub fn run() -> Result<()> {
    let boards = BOARDS.iter().map(|board| board.target);
    let triples: BTreeSet<_> = TARGETS.iter().filter_map(|target| target.triple()).chain(boards).collect();
    let libraries = target::Libraries(triples.iter().copied().collect());
    let mut failed: Vec<_> = triples.into_iter().filter_map(|triple| obtain(&target::Target(triple))).collect();
    let others: [&dyn Part; 5] =
        [&qemu::Qemu, &chromium::Chromium, &compiler::Compiler, &libtorch::Libtorch, &digits::Digits];
    thread::scope(|scope| {
        // Compiles these while the others are fetched.
        let libraries = scope.spawn(|| obtain(&libraries));
        failed.extend(others.into_iter().filter_map(obtain));
        failed.extend(libraries.join().map_err(|_| anyhow!("the libraries' thread panicked"))?);
        Ok::<_, Error>(())
    })?;
    project::remove(&project::fetched("partial"))?;
    if !failed.is_empty() {
        bail!("setup is incomplete: {}; finished parts are kept, so run it again at any time", failed.join(", "));
    }
    Ok(())
}

/// Gets a part and says how that went. Returns its name if it failed.
fn obtain(part: &dyn Part) -> Option<String> {
    let name = part.name();
    let started = Instant::now();
    match part.obtain() {
        Ok(Outcome::Found(words)) => console::say(&line(&name, &format!("found: {words}"))),
        Ok(Outcome::Done(words)) => {
            let seconds = started.elapsed().as_secs_f32();
            console::say(&line(&name, &format!("done in {seconds:.1} s: {words}")));
        }
        Ok(Outcome::Deferred(words)) => console::say(&line(&name, &format!("later: {words}"))),
        Ok(Outcome::Skipped(words)) => console::say(&line(&name, &format!("skipped: {words}"))),
        Err(error) => {
            console::say(&line(&name, &format!("FAILED: {error:#}\n  By hand: {}", part.by_hand())));
            return Some(name);
        }
    }
    None
}

/// Formats a line about a part.
fn line(name: &str, words: &str) -> String {
    format!("{name:<36} {words}")
}

/// Announces a change outside the project folder.
fn announce(what: &str) {
    console::say(&format!("Outside the project folder: {what}"));
}
