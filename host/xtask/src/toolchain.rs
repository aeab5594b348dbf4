//! Installed Rust toolchain, and the standard libraries that it has for other targets.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{process, project};

/// Settings for build scripts and procedural macros. They are the same for the firmware, the conformance program and
/// the crate in `tests/outside`, which therefore share compiled crates whatever their profiles say.
const ALIKE: [(&str, &str); 3] = [
    ("CARGO_PROFILE_RELEASE_BUILD_OVERRIDE_DEBUG", "false"),
    ("CARGO_PROFILE_RELEASE_BUILD_OVERRIDE_DEBUG_ASSERTIONS", "false"),
    ("CARGO_PROFILE_RELEASE_BUILD_OVERRIDE_OVERFLOW_CHECKS", "false"),
];

/// Makes a cargo command build for `target`, with whatever this machine needs for that.
pub fn select(cargo: &mut Command, target: &str) -> Result<()> {
    let library = library(target)?
        .with_context(|| format!("there is no standard library for {target}: run `cargo xtask setup`"))?;
    cargo.arg(format!("--target={target}")).envs(ALIKE);
    if let Library::Built(sysroot) = library {
        // Flags that the command has for this target stay. Build scripts, which run on this machine, are built without
        // them.
        let own = cargo.get_envs().find(|(key, _)| *key == "RUSTFLAGS").and_then(|(_, value)| value?.to_str());
        cargo.env("CARGO_ENCODED_RUSTFLAGS", flags(own.unwrap_or_default(), &sysroot));
    }
    Ok(())
}

/// Encodes flags for the compiler, those in `own` and the library's place, so that folder names may contain spaces.
fn flags(own: &str, sysroot: &Path) -> String {
    let sysroot = format!("--sysroot={}", sysroot.display());
    own.split_whitespace().chain([sysroot.as_str()]).collect::<Vec<_>>().join("\x1f")
}

/// Place of a target's standard library.
#[derive(Debug, PartialEq)]
pub enum Library {
    Installed,
    /// Built from source, in a folder laid out like the toolchain's own.
    Built(PathBuf),
}

/// Returns the target triple of this machine.
pub fn host() -> Result<String> {
    rustc(&["--print", "host-tuple"])
}

/// Returns the standard library that is there for a target, if any.
pub fn library(target: &str) -> Result<Option<Library>> {
    let holds = |folder: &Path| fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    if holds(Path::new(&rustc(&["--print", "target-libdir", "--target", target])?)) {
        return Ok(Some(Library::Installed));
    }
    let sysroot = sysroot(&release()?);
    Ok(holds(&libraries(&sysroot, target)).then_some(Library::Built(sysroot)))
}

/// Returns the folder of the library's source, if it is there.
pub fn source() -> Result<Option<PathBuf>> {
    let toolchain = Path::new(&rustc(&["--print", "sysroot"])?).join("lib/rustlib/src/rust/library");
    Ok([toolchain, own_source(&release()?)].into_iter().find(|folder| holds_library(folder)))
}

pub fn holds_library(folder: &Path) -> bool {
    ["Cargo.lock", "core/Cargo.toml", "alloc/Cargo.toml"].iter().all(|file| folder.join(file).is_file())
}

/// Returns the folder of the project's own copy, for one version of the compiler.
pub fn own_source(release: &str) -> PathBuf {
    project::fetched(&format!("rust-src-{release}/library"))
}

/// Returns the folder of the libraries built by one version of the compiler.
pub fn sysroot(release: &str) -> PathBuf {
    project::fetched(&format!("sysroot-{release}"))
}

pub fn libraries(sysroot: &Path, target: &str) -> PathBuf {
    sysroot.join("lib/rustlib").join(target).join("lib")
}

pub fn rustc(arguments: &[&str]) -> Result<String> {
    process::output(Command::new("rustc").args(arguments)).map(|output| output.trim().to_owned())
}

/// Returns the compiler's version, such as `1.95.0`.
pub fn release() -> Result<String> {
    let version = rustc(&["--version", "--verbose"])?;
    release_in(&version).context("rustc does not state its version")
}

fn release_in(version: &str) -> Option<String> {
    version.lines().find_map(|line| line.strip_prefix("release: ")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_built_library_is_named_beside_the_flags_that_a_command_has() {
        let sysroot = Path::new("/a folder/s");
        assert_eq!(flags("", sysroot), "--sysroot=/a folder/s");
        assert_eq!(flags("-Ctarget-cpu=x  -Cy", sysroot), "-Ctarget-cpu=x\x1f-Cy\x1f--sysroot=/a folder/s");
    }

    #[test]
    fn the_release_is_read_from_rustc() {
        assert_eq!(
            release_in("rustc 1.95.0 (x)\nbinary: rustc\nrelease: 1.95.0\nLLVM version: 21\n").unwrap(),
            "1.95.0"
        );
    }
}
