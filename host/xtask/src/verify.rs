//! `cargo xtask verify`: the same update on every target, line by line.
//!
//! Each target runs the conformance program of package graftage-tests, which prints a fingerprint of every array after
//! every step. The first target is what the others are held against.

use std::process::Stdio;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use sha2::{Digest, Sha256};

use crate::{console, firmware, process, project};

/// A machine, or an implementation of core's matrices on it.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// Core on this machine
    #[value(name = "x86_64")]
    Host,
    /// Core on the emulated Cortex-M4F board
    #[value(name = "mps2-an386")]
    Mps2An386,
    /// Core's rule on libtorch tensors in exact order
    #[value(name = "libtorch-exact")]
    LibtorchExact,
    /// Negative control: this machine with a fused multiply-add, which must be found out
    #[value(name = "x86_64-fused")]
    Fused,
}

const ALL: [Target; 3] = [Target::Host, Target::Mps2An386, Target::LibtorchExact];

impl Target {
    fn name(self) -> String {
        match (self, self.to_possible_value()) {
            (Target::Host, _) => std::env::consts::ARCH.to_owned(),
            (_, Some(value)) => value.get_name().to_owned(),
            (_, None) => String::new(),
        }
    }

    /// What the target prints.
    fn lines(self) -> Result<Vec<String>> {
        let example = |package: &str, name: &str| {
            let mut cargo = process::cargo();
            cargo.args(["run", "--quiet", "--release", "--package", package, "--example", name]);
            cargo.current_dir(project::root());
            cargo
        };
        let mut command = match self {
            Target::Host => example("graftage-tests", "conformance"),
            Target::Fused => {
                let mut cargo = example("graftage-tests", "conformance");
                cargo.args(["--", "fused"]);
                cargo
            }
            Target::LibtorchExact => example("graftage", "tensor_conformance"),
            Target::Mps2An386 => {
                let mut qemu = firmware::board(&firmware::build(None)?.join("conformance"));
                qemu.args(["-serial", "stdio"]);
                qemu
            }
        };
        // Building says on standard error what takes long.
        let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
        let output = output.with_context(|| format!("cannot start `{}`", process::shown(&command)))?;
        if !output.status.success() {
            bail!("`{}` failed ({})", process::shown(&command), output.status);
        }
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
    }
}

/// Runs the targets, all of them unless some are named, and prints the table.
pub fn run(targets: &[Target]) -> Result<()> {
    let reference = Target::Host.lines()?;
    if !reference.last().is_some_and(|line| line.starts_with("end of conformance")) {
        bail!("the conformance program did not come to its end");
    }
    let targets = if targets.is_empty() { &ALL[..] } else { targets };
    console::say(&format!("{:<16} {:>5}  {:<16}  equal to {}", "target", "steps", "digest", Target::Host.name()));
    let mut differing = Vec::new();
    for target in targets {
        let lines = if *target == Target::Host { reference.clone() } else { target.lines()? };
        let difference = first_difference(&reference, &lines);
        let verdict = difference.as_deref().unwrap_or("equal");
        console::say(&format!("{:<16} {:>5}  {}  {verdict}", target.name(), steps(&lines), digest(&lines)));
        if difference.is_some() {
            differing.push(*target);
        }
    }
    if !differing.is_empty() {
        bail!(self::differing(&differing));
    }
    Ok(())
}

/// What is said of targets that compute something else.
pub fn differing(targets: &[Target]) -> String {
    let names: Vec<_> = targets.iter().map(|target| target.name()).collect();
    format!("not the same bits: {}", names.join(", "))
}

/// Where two runs part, in words. A line is `STEP FINGERPRINT ARRAY`.
fn first_difference(reference: &[String], lines: &[String]) -> Option<String> {
    let at = (0..reference.len().max(lines.len())).find(|i| reference.get(*i) != lines.get(*i))?;
    let Some(expected) = reference.get(at) else { return Some("prints more than it should".into()) };
    let mut words = expected.splitn(3, ' ');
    let (step, array) = (words.next()?, words.nth(1)?);
    Some(match lines.get(at) {
        Some(_) => format!("differs first at step {step}, {array}"),
        None => format!("ends before step {step}, {array}"),
    })
}

/// Updates that the lines tell of: each fingerprints its (first) X once.
fn steps(lines: &[String]) -> usize {
    let counts = |line: &&String| {
        line.split(' ').nth(2) == Some("X") && (!line.contains("of training") || line.ends_with("parameter 1"))
    };
    lines.iter().filter(counts).count()
}

/// The first 64 bits of SHA-256 of all lines.
fn digest(lines: &[String]) -> String {
    let hash = Sha256::digest(lines.join("\n"));
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_first_difference_names_step_and_array() {
        let reference = lines("0 11 operation a + b\n1 22 X of Sign 3×7 free\n1 33 M of Sign 3×7 free\nend");
        assert_eq!(first_difference(&reference, &reference), None);
        let other = lines("0 11 operation a + b\n1 22 X of Sign 3×7 free\n1 34 M of Sign 3×7 free\nend");
        let difference = first_difference(&reference, &other).unwrap();
        assert_eq!(difference, "differs first at step 1, M of Sign 3×7 free");
        assert_eq!(first_difference(&reference, &reference[..2]).unwrap(), "ends before step 1, M of Sign 3×7 free");
        assert!(first_difference(&reference[..2], &reference).is_some());
    }

    #[test]
    fn each_update_counts_once() {
        let text = "0 1 operation a + b\n1 2 X of Sign 3×7 free\n1 2 Y of Sign 3×7 free\n\
                    1 3 X of training, parameter 1\n1 3 X of training, parameter 2\nend";
        assert_eq!(steps(&lines(text)), 2);
    }
}
