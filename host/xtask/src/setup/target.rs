//! Standard libraries of the targets that something is built for.
//!
//! rustup provides them ready-made for a toolchain that it manages. Otherwise their source is enough: `core` and
//! `alloc` are built once, by the same stable compiler, and lie where every build for the target finds them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{env, fs};

use anyhow::{Context, Result};

use super::apt::Suite;
use super::{Outcome, Part, announce, apt, line};
use crate::toolchain::{Library, holds_library, host, libraries, library, own_source, release, rustc, source, sysroot};
use crate::{console, process, project};

/// Environment variable that names an archive with the folder `library` of the compiler's source.
const ARCHIVE: &str = "GRAFTAGE_RUST_SRC";
/// Suite with Debian's newest stable compilers.
const SUITE: &str = "trixie-backports";
/// Time limit of rustup. A server that cannot be reached must not hold up the ways that need none.
const RUSTUP_LIMIT: Duration = Duration::from_secs(60);

/// Target whose standard library is a part of the setup.
pub struct Target(pub &'static str);

impl Part for Target {
    fn name(&self) -> String {
        format!("target {}", self.0)
    }

    fn obtain(&self) -> Result<Outcome> {
        if let Some(library) = library(self.0)? {
            return Ok(Outcome::Found(words(&library)));
        }
        if source()?.is_none() {
            // An archive that the user has named is the only thing to try: a mistake in its name deserves an error.
            if let Some(archive) = env::var_os(ARCHIVE) {
                self.unpack(&archive)?;
            } else if let Err(error) = self.ask_rustup() {
                self.fetch_from_debian().with_context(|| format!("{error:#}\n  and from Debian"))?;
            }
        }
        let library = library(self.0)?.map(|library| Outcome::Done(words(&library)));
        let build = |source: PathBuf| Outcome::Deferred(format!("to be built from the source in {}", source.display()));
        library.or(source()?.map(build)).context("the toolchain still does not find the library")
    }

    fn by_hand(&self) -> String {
        format!(
            "install rustup and run `rustup target add {}`, or set {ARCHIVE} to an archive that contains the folder \
             library of this compiler's source and run this again",
            self.0
        )
    }
}

impl Target {
    /// Unpacks the source in an archive.
    fn unpack(&self, archive: &OsStr) -> Result<()> {
        let folder = project::partial("rust-src")?;
        let mut tar = Command::new("tar");
        tar.arg("-xf").arg(archive).arg("-C").arg(&folder);
        process::long(&line(&self.name(), &format!("unpacking {ARCHIVE}")), &mut tar, None)?;
        keep_source(&folder)
    }

    /// Gets the ready-made library, for a toolchain that rustup manages.
    fn ask_rustup(&self) -> Result<()> {
        let mut rustup = Command::new("rustup");
        process::output(rustup.arg("--version"))?;
        announce(&format!("rustup target add {}", self.0));
        let mut rustup = Command::new("rustup");
        rustup.args(["target", "add", self.0]);
        process::long(&line(&self.name(), "rustup target add"), &mut rustup, Some(RUSTUP_LIMIT))?;
        library(self.0)?.map(drop).context("rustup added it to a toolchain other than this one")
    }

    /// Unpacks Debian's package of the same compiler's source without installing it.
    fn fetch_from_debian(&self) -> Result<()> {
        let release = release()?;
        apt::debian().context("this is not Debian, so its package rust-src is not available")?;
        let apt = Suite::fetch(&line(&self.name(), &format!("apt-get update for {SUITE}")), SUITE, false)?;
        let folder = project::partial("rust-src")?;
        let mut download = apt.apt_get();
        download.args(["download", &format!("rust-src={release}*")]).current_dir(&folder);
        process::long(&line(&self.name(), "apt-get download rust-src (45 MB)"), &mut download, None)?;
        let package = fs::read_dir(&folder)?.next().context("apt-get downloaded nothing")??.path();
        process::output(Command::new("dpkg").arg("-x").arg(&package).arg(&folder))?;
        keep_source(&folder)
    }
}

/// Keeps the library's source that lies somewhere in `folder`.
fn keep_source(folder: &Path) -> Result<()> {
    let found = find_library(folder, 8).context("it does not contain the source of the standard library")?;
    project::put(&found, &own_source(&release()?))
}

/// Returns the folder of the library's source, at most `depth` folders down.
fn find_library(folder: &Path, depth: usize) -> Option<PathBuf> {
    if holds_library(folder) {
        return Some(folder.to_owned());
    }
    let entries = fs::read_dir(folder).ok().filter(|_| depth > 0)?;
    let folders =
        entries.filter_map(|entry| entry.ok().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())));
    folders.into_iter().find_map(|entry| find_library(&entry.path(), depth - 1))
}

/// Libraries of all targets of which only the source is there, built together.
pub struct Libraries(pub Vec<&'static str>);

impl Part for Libraries {
    fn name(&self) -> String {
        "standard libraries from source".to_owned()
    }

    fn obtain(&self) -> Result<Outcome> {
        let mut missing = Vec::new();
        for target in &self.0 {
            if library(target)?.is_none() {
                missing.push(*target);
            }
        }
        if missing.is_empty() {
            return Ok(Outcome::Found("every target has one installed".to_owned()));
        }
        let source = source()?.context("their source is missing")?;
        let folder = project::partial("std")?;
        fs::write(folder.join("Cargo.toml"), PACKAGE)?;
        fs::write(folder.join("lib.rs"), "#![no_std]\n")?;
        let mut cargo = process::cargo();
        cargo.args(["build", "--release", "-Zbuild-std=core,alloc", "--target-dir=target"]).current_dir(&folder);
        cargo.args(missing.iter().flat_map(|target| ["--target", target]));
        // RUSTC_BOOTSTRAP permits `-Z` on a stable compiler. The other variable is cargo's only way to take the source
        // from outside the toolchain, which stays as it is. Cargo does not promise it, but the toolchain's version is
        // pinned.
        cargo.envs([("RUSTC_BOOTSTRAP", OsStr::new("1")), ("__CARGO_TESTS_ONLY_SRC_ROOT", source.as_os_str())]);
        // The libraries must link as they are, and also take part in the LTO of a program, which optimises their parts
        // together.
        cargo.envs([("RUSTFLAGS", "-Cembed-bitcode=yes"), ("CARGO_PROFILE_RELEASE_LTO", "off")]);
        // Other parts are at work meanwhile and show their elapsed time.
        console::say(&line(&self.name(), "cargo build, which takes minutes ..."));
        process::output(&mut cargo)?;
        let sysroot = sysroot(&release()?);
        for target in &missing {
            put_libraries(&folder.join("target").join(target).join("release/deps"), &libraries(&sysroot, target))?;
        }
        // rustc looks for the toolchain's linker beside the libraries.
        let own = Path::new("lib/rustlib").join(host()?);
        let toolchain = Path::new(&rustc(&["--print", "sysroot"])?).join(&own);
        // A link that an older toolchain left may be dangling.
        let _ = fs::remove_file(sysroot.join(&own));
        std::os::unix::fs::symlink(toolchain, sysroot.join(own))?;
        Ok(Outcome::Done(missing.join(", ")))
    }

    fn by_hand(&self) -> String {
        format!("install rustup and run `rustup target add {}`", self.0.join(" "))
    }
}

/// Manifest of a package that needs nothing but the library.
const PACKAGE: &str = "[package]\nname = \"nothing\"\nedition = \"2024\"\n\n[lib]\npath = \"lib.rs\"\n\n[workspace]\n";

/// Moves the built libraries to their place, all at once.
fn put_libraries(built: &Path, place: &Path) -> Result<()> {
    let whole = built.join("libraries");
    fs::create_dir_all(&whole)?;
    for file in fs::read_dir(built)? {
        let file = file?.file_name();
        if file.to_str().is_some_and(|name| name.ends_with(".rlib") && !name.starts_with("libnothing")) {
            fs::copy(built.join(&file), whole.join(&file))?;
        }
    }
    project::put(&whole, place)
}

fn words(library: &Library) -> String {
    match library {
        Library::Installed => "installed in the toolchain".to_owned(),
        Library::Built(sysroot) => format!("built from its source in {}", sysroot.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_is_found_below_other_folders_and_only_whole() {
        let folder = env::temp_dir().join(format!("graftage-source-{}", std::process::id()));
        let library = folder.join("usr/src/rust/library");
        for file in ["Cargo.lock", "core/Cargo.toml", "alloc/Cargo.toml"] {
            assert_eq!(find_library(&folder, 8), None);
            let file = library.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        assert_eq!(find_library(&folder, 8), Some(library));
        assert_eq!(find_library(&folder, 2), None);
        fs::remove_dir_all(folder).unwrap();
    }
}
