//! `cargo xtask outside`: uses the firmware's library as other firmware does.
//!
//! Alone, the library builds for every kind of bare machine, and brings nothing that a firmware can have only once. The
//! crate in `tests/outside`, which has all of that itself, is built with the library and run with the commands of
//! `docs/firmware.md`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use graftage_boards::elf;
use serde_json::Value;

use crate::verify::target::example;
use crate::{console, emulator, firmware, process, project, toolchain};

const PAGE: &str = include_str!("../../../docs/firmware.md");

/// Kinds of bare machines: without atomic exchange, without a binary32 unit, with 32 and with 64 bits.
const TARGETS: [&str; 5] = [
    "thumbv6m-none-eabi",
    "thumbv7em-none-eabihf",
    "thumbv8m.main-none-eabihf",
    "riscv32imac-unknown-none-elf",
    "aarch64-unknown-none",
];

/// The library and all its dependencies at run time.
const CRATES: [&str; 27] = [
    "accelerometer",
    "byteorder",
    "cobs",
    "crc",
    "crc-catalog",
    "embedded-hal",
    "embedded-io",
    "embedded-storage",
    "generic-array",
    "graftage-core",
    "graftage-firmware",
    "graftage-link",
    "hash32",
    "heapless",
    "libm",
    "lis3dh",
    "lm75",
    "micromath",
    "num_enum",
    "postcard",
    "rand_core",
    "rand_pcg",
    "serde",
    "serde_core",
    "stable_deref_trait",
    "thiserror",
    "typenum",
];

/// Targets, each with the command that the page shows for it.
const TYPED: [(&str, &str); 2] = [
    ("thumbv7em-none-eabihf", "cargo run --release"),
    ("thumbv6m-none-eabi", "cargo run --release --target thumbv6m-none-eabi"),
];

/// Time limit of the program, which takes a second or two.
const LIMIT: Duration = Duration::from_secs(120);

/// Value of `opt-level` in the crate's release profile.
pub const OWN: &str = "s";

/// Builds everything, runs the crate's program for each target, and shows the program's size at each optimisation
/// level.
pub fn run(levels: &[&str]) -> Result<()> {
    TARGETS.into_iter().try_for_each(alone)?;
    emulator::check("qemu-system-arm", "mps2-an386").context("run `cargo xtask setup`")?;
    let expected = process::output(&mut example(&[project::TESTS], "outside")?)?;
    let shown = PAGE.contains(&format!("```text\n{expected}```"));
    ensure!(shown, "docs/firmware.md does not show the result of core on this machine:\n{expected}");
    for (target, typed) in TYPED {
        ensure!(PAGE.lines().any(|line| line == typed), "docs/firmware.md does not contain the line `{typed}`");
        process::run(cargo("build", target)?.args(["--quiet", "--bins"]))?;
        let said = process::limited(cargo("run", target)?.arg("--quiet"), LIMIT)?;
        ensure!(said == expected, "`{typed}` prints\n{said}but core on this machine prints\n{expected}");
        console::say(&format!("{target}: {}", said.lines().last().unwrap_or_default()));
    }
    for level in levels {
        TYPED.into_iter().try_for_each(|(target, _)| size(target, level))?;
    }
    Ok(())
}

/// Builds the crate's board with a link, for the tests of slow boards. A save of its five blocks takes twelve seconds
/// when half of the room for held-out samples is in use.
pub fn slow() -> Result<()> {
    let (target, _) = TYPED[0];
    let mut cargo = cargo("build", target)?;
    cargo.args(["--quiet", "--bin", "serve"]).env("ERASE_MILLISECONDS", "2500").env("SAVE_EVERY", "100");
    process::run(&mut cargo)?;
    project::copy(&built(target).join("serve"), &project::root().join("target/outside/slow"))
}

/// Runs clippy on the crate, warnings as errors.
pub fn lint() -> Result<()> {
    let (target, _) = TYPED[0];
    process::run(cargo("clippy", target)?.args(["--quiet", "--", "-D", "warnings"]))
}

/// Checks that the library builds for a target without any feature, brings no other crates along, and links nothing.
fn alone(target: &str) -> Result<()> {
    let mut tree = process::cargo();
    tree.args(["tree", "--locked", "--package=graftage-firmware", "--edges=normal,no-proc-macro", "--prefix=none"]);
    tree.args(["--target", target]).current_dir(project::root().join("firmware"));
    let tree = process::output(&mut tree)?;
    let unknown = strangers(&tree);
    ensure!(unknown.is_empty(), "on {target}, the library depends on unexpected crates: {}", unknown.join(", "));
    let mut check = firmware::in_firmware("check", target)?;
    check.args(["--lib", "--package=graftage-firmware", "--message-format=json-render-diagnostics"]);
    let said = process::output(&mut check).with_context(|| format!("the library does not build for {target}"))?;
    let linked = linked(&said).context("cargo does not report the output of the library's build script")?;
    ensure!(linked.is_empty(), "on {target}, the library links {}", linked.join(", "));
    console::say(&format!("the library alone builds for {target}"));
    Ok(())
}

/// Returns the crates of a tree, one per line, that are not in [`CRATES`].
fn strangers(tree: &str) -> Vec<&str> {
    let found: BTreeSet<_> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    found.into_iter().filter(|name| !CRATES.contains(name)).collect()
}

/// Returns what the library's build script links into its dependents; `None` if cargo does not tell.
fn linked(messages: &str) -> Option<Vec<String>> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let script = messages
        .filter(|message| message["reason"] == "build-script-executed")
        .find(|message| message["package_id"].as_str().is_some_and(|id| id.contains("graftage-firmware")))?;
    let all = ["linked_libs", "linked_paths"].into_iter().filter_map(|key| script[key].as_array()).flatten();
    Some(all.map(Value::to_string).collect())
}

/// Shows how much flash and RAM the crate's program takes.
fn size(target: &str, level: &str) -> Result<()> {
    process::run(cargo("build", target)?.args(["--quiet", "--bins"]).env("CARGO_PROFILE_RELEASE_OPT_LEVEL", level))?;
    let elf::Footprint { flash, ram } = elf::footprint(&std::fs::read(built(target).join("my-device"))?)?;
    console::say(&format!("{target}, opt-level {level}: {flash} bytes of flash, {ram} of RAM without the stack"));
    Ok(())
}

/// Returns a cargo command for the crate, in its folder.
fn cargo(task: &str, target: &str) -> Result<Command> {
    let mut cargo = process::cargo();
    cargo.args([task, "--release", "--target-dir"]).arg(firmware::target_folder());
    cargo.current_dir(project::root().join("tests/outside"));
    toolchain::select(&mut cargo, target)?;
    Ok(cargo)
}

/// Returns the folder of the crate's built programs.
fn built(target: &str) -> PathBuf {
    firmware::target_folder().join(target).join("release")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_that_is_new_is_named() {
        let tree = "graftage-firmware v0.1.0 (/x)\nheapless v0.9.3\ncortex-m-rt v0.7.7\nheapless v0.9.3 (*)\n";
        assert_eq!(strangers(tree), ["cortex-m-rt"]);
    }

    #[test]
    fn libraries_that_a_build_script_links_are_found() {
        let script = |package: &str, paths: &str| {
            format!(
                "{{\"reason\":\"build-script-executed\",\"package_id\":\"path+file:///x/{package}#0.1.0\",\
                 \"linked_libs\":[],\"linked_paths\":[{paths}]}}\n"
            )
        };
        let others = script("serde", "\"native=/y\"");
        assert_eq!(linked(&others), None);
        assert_eq!(linked(&format!("{others}{}", script("graftage-firmware", ""))), Some(vec![]));
        let messages = format!("{others}{}", script("graftage-firmware", "\"native=/z\""));
        assert_eq!(linked(&messages), Some(vec!["\"native=/z\"".to_owned()]));
    }
}
