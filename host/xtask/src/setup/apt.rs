//! Packages of Debian, also from a suite that the system has not configured.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use super::{announce, line};
use crate::{process, project};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Returns the code name of this Debian, such as `bookworm`; `None` on another system.
pub fn debian() -> Option<String> {
    let release = fs::read_to_string("/etc/os-release").ok()?;
    if field(&release, "ID")? == "debian" { field(&release, "VERSION_CODENAME") } else { None }
}

/// Returns whether packages are installed with apt.
pub fn exists() -> bool {
    process::output(Command::new("apt-get").arg("--version")).is_ok()
}

/// Returns whether an administrator runs this program.
pub fn is_root() -> bool {
    process::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

/// Arguments of `apt-get` to install packages.
pub const INSTALL: [&str; 3] = ["install", "-y", "--no-install-recommends"];

/// Installs packages from the system's own sources, for the part named `part`.
pub fn install(part: &str, packages: &[&str]) -> Result<()> {
    announce(&format!("apt-get update && apt-get install {}", packages.join(" ")));
    process::long(&line(part, "apt-get update"), Command::new("apt-get").arg("update"), None)?;
    install_with(part, packages, &mut Command::new("apt-get"))
}

/// Installs packages with an `apt-get` that knows where they are.
pub fn install_with(part: &str, packages: &[&str], apt_get: &mut Command) -> Result<()> {
    // Waits for another apt that is at work.
    apt_get
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(INSTALL)
        .args(["-o", "DPkg::Lock::Timeout=60"])
        .args(packages);
    process::long(&line(part, "apt-get install"), apt_get, None).map(drop)
}

/// Returns the command with which an administrator installs packages from the system's own sources.
pub fn by_hand(packages: &[&str]) -> String {
    format!("sudo sh -c 'apt-get update && apt-get {} {}'", INSTALL.join(" "), packages.join(" "))
}

/// `apt-get` with a suite beside the system's own. Its lists lie in the project; those of the system stay as they are.
pub struct Suite {
    options: Vec<String>,
}

impl Suite {
    /// Fetches the lists of `suite` and, with `with_system`, those of the system's sources.
    pub fn fetch(line: &str, suite: &str, with_system: bool) -> Result<Suite> {
        let folder = project::partial(&format!("apt-{suite}"))?;
        fs::create_dir_all(folder.join("lists/partial"))?;
        fs::create_dir_all(folder.join("cache/archives/partial"))?;
        let mut sources = source_line(suite)? + "\n";
        let mut options = vec![
            format!("Dir::Etc::sourcelist={}", folder.join("sources.list").display()),
            format!("Dir::State::lists={}", folder.join("lists").display()),
            format!("Dir::Cache={}", folder.join("cache").display()),
            // apt's own user cannot enter a folder below a private one.
            "APT::Sandbox::User=".to_owned(),
        ];
        if with_system {
            sources += &fs::read_to_string("/etc/apt/sources.list").unwrap_or_default();
        } else {
            options.push("Dir::Etc::sourceparts=-".to_owned());
        }
        fs::write(folder.join("sources.list"), sources)?;
        let suite = Suite { options };
        process::long(line, suite.apt_get().arg("update"), None)?;
        Ok(suite)
    }

    /// Returns an `apt-get` that knows the suite.
    pub fn apt_get(&self) -> Command {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        for option in &self.options {
            command.args(["-o", option]);
        }
        command
    }
}

/// Returns the line of a sources list for `suite`, from the mirror that the system is configured with.
pub fn source_line(suite: &str) -> Result<String> {
    let configured = process::output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(SITE) $(RELEASE)",
        "Created-By: Packages",
    ]))?;
    debian()
        .and_then(|codename| line_from(&configured, &codename, suite))
        .context("no Debian mirror is configured (`apt-get update` may help)")
}

fn line_from(configured: &str, codename: &str, suite: &str) -> Option<String> {
    // Uses the release's own mirror: that of its security updates does not carry other suites.
    let mut targets = configured.lines().filter_map(|target| target.split_once(' '));
    let (site, _) = targets.find(|(_, release)| *release == codename)?;
    Some(format!("deb [signed-by={KEYRING}] {site} {suite} main"))
}

fn field(release: &str, name: &str) -> Option<String> {
    let value = release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_that_of_the_release_itself() {
        let configured =
            "http://m/debian-security bookworm-security\nhttp://m/debian bookworm-updates\nhttp://m/debian bookworm\n";
        assert_eq!(
            line_from(configured, "bookworm", "trixie-backports").unwrap(),
            format!("deb [signed-by={KEYRING}] http://m/debian trixie-backports main")
        );
        assert_eq!(line_from(configured, "trixie", "trixie-backports"), None);
    }

    #[test]
    fn fields_of_os_release_are_read_whole() {
        let release = "VERSION_ID=\"12\"\nID_LIKE=x\nID=debian\nVERSION_CODENAME=\"bookworm\"\n";
        assert_eq!(field(release, "ID").unwrap(), "debian");
        assert_eq!(field(release, "VERSION_CODENAME").unwrap(), "bookworm");
        assert_eq!(field(release, "VERSION"), None);
    }
}
