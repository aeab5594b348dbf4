//! libtorch: the one that LIBTORCH names, or PyTorch's wheel in the project's folder.
//!
//! The wheel needs no LD_LIBRARY_PATH: its libraries find each other, and those of the wheels beside it, by their own
//! rpath. A program needs only an rpath to `torch/lib`.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Result, ensure};

use super::{Outcome, Part, line, pip};
use crate::{process, project};

/// First two numbers of the version that the Rust binding is written for.
const VERSION: &str = "2.11";
const TORCH: &str = "torch==2.11.0";
/// Wheels whose libraries the CUDA build of libtorch_cpu.so loads, even on a machine without a GPU.
const CUDA: [&str; 2] = ["nvidia-cuda-cupti==13.0.85", "nvidia-cuda-runtime==13.0.96"];
/// Further wheels whose libraries its libtorch_cuda.so loads.
const GPU: [&str; 12] = [
    "nvidia-cublas==13.1.0.3",
    "nvidia-cuda-nvrtc==13.0.88",
    "nvidia-cudnn-cu13==9.19.0.56",
    "nvidia-cufft==12.0.0.61",
    "nvidia-cufile==1.15.1.6",
    "nvidia-curand==10.4.0.35",
    "nvidia-cusolver==12.0.4.66",
    "nvidia-cusparse==12.6.3.3",
    "nvidia-cusparselt-cu13==0.8.0",
    "nvidia-nccl-cu13==2.28.9",
    "nvidia-nvjitlink==13.0.88",
    "nvidia-nvshmem-cu13==3.4.5",
];
/// Device file that the driver makes for the first GPU.
const DEVICE: &str = "/dev/nvidia0";

/// libtorch as a part of the setup.
pub struct Libtorch;

impl Part for Libtorch {
    fn name(&self) -> String {
        format!("libtorch {VERSION}")
    }

    fn obtain(&self) -> Result<Outcome> {
        if let Some(folder) = users_own() {
            let (folder, shown) = (folder.as_path(), folder.display());
            ensure!(is_libtorch(folder), "LIBTORCH={shown} does not contain the folders lib and include of a libtorch");
            return Ok(Outcome::Found(match version(folder) {
                Some(version) if is_expected(&version) => format!("LIBTORCH={shown}"),
                Some(other) => format!("LIBTORCH={shown}; WARNING: it is {other}, but the binding expects {VERSION}"),
                None => format!("LIBTORCH={shown}; WARNING: its version is unknown, and the binding expects {VERSION}"),
            }));
        }
        let place = project::fetched("python");
        let torch = place.join("torch");
        let gpu = Path::new(DEVICE).exists();
        let wheels = wheels(env::consts::OS, env::consts::ARCH, gpu);
        // cuDNN stands for all wheels for a GPU, which are installed together.
        let has_all = !wheels.contains(&GPU[0]) || place.join("nvidia/cudnn").exists();
        if has_all && is_libtorch(&torch) && version(&torch).is_some_and(|version| is_expected(&version)) {
            return Ok(Outcome::Found(torch.display().to_string()));
        }
        let folder = project::partial("libtorch")?;
        let complete = folder.join("python");
        let size = if wheels.contains(&GPU[0]) { "3.8 GB unpacked" } else { "550 MB, 1.3 GB unpacked" };
        let mut install = pip::pip("install", &folder)?;
        install.arg("--target").arg(&complete).args(&wheels);
        process::long(&line(&self.name(), &format!("pip install ({size})")), &mut install, None)?;
        project::put(&complete, &place)?;
        Ok(Outcome::Done(format!("{} in {}", wheels.join(" "), place.display())))
    }

    fn by_hand(&self) -> String {
        format!("unpack a libtorch {VERSION} anywhere and set LIBTORCH to its folder")
    }
}

/// Returns the folder in LIBTORCH, unless it is the project's own, which cargo's configuration names by default.
fn users_own() -> Option<PathBuf> {
    let named = PathBuf::from(env::var_os("LIBTORCH").filter(|value| !value.is_empty())?);
    let own = project::fetched("python/torch");
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    (real(&named) != real(&own)).then_some(named)
}

fn is_libtorch(folder: &Path) -> bool {
    let library = format!("{}torch_cpu{}", env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
    folder.join("lib").join(library).exists() && folder.join("include/torch").exists()
}

/// Returns the version that the folder states, in a file of its own or in a header.
fn version(folder: &Path) -> Option<String> {
    if let Ok(version) = fs::read_to_string(folder.join("build-version")) {
        return Some(version.trim().to_owned());
    }
    ["include/torch/headeronly/version.h", "include/torch/csrc/api/include/torch/version.h"]
        .iter()
        .find_map(|header| version_in(&fs::read_to_string(folder.join(header)).ok()?))
}

fn version_in(header: &str) -> Option<String> {
    let number = |name: &str| {
        let mut words = header.lines().map(str::split_whitespace);
        words.find_map(|mut words| (words.next()? == "#define" && words.next()? == name).then(|| words.next())?)
    };
    let [major, minor, patch] = ["MAJOR", "MINOR", "PATCH"].map(|name| number(&format!("TORCH_VERSION_{name}")));
    Some(format!("{}.{}.{}", major?, minor?, patch?))
}

fn is_expected(version: &str) -> bool {
    version.strip_prefix(VERSION).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Returns the wheels of a libtorch that loads, and that uses a GPU if there is one. Only x86-64 Linux has a CUDA build
/// by default.
fn wheels(os: &str, arch: &str, gpu: bool) -> Vec<&'static str> {
    match (os, arch, gpu) {
        ("linux", "x86_64", true) => [&[TORCH], &CUDA[..], &GPU[..]].concat(),
        ("linux", "x86_64", false) => [&[TORCH], &CUDA[..]].concat(),
        _ => vec![TORCH],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_from_a_header() {
        let header = "/// x\n#define TORCH_VERSION_MAJOR 2\n#define TORCH_VERSION_MINOR 11\n#define TORCH_VERSION_PATCH 0\n#define TORCH_VERSION \\\n";
        assert_eq!(version_in(header).unwrap(), "2.11.0");
        assert_eq!(version_in("#define TORCH_VERSION_MAJOR 2\n"), None);
    }

    #[test]
    fn a_version_is_compared_by_whole_numbers() {
        assert!(is_expected("2.11.0+cpu") && is_expected("2.11"));
        assert!(!is_expected("2.110.0") && !is_expected("2.1.1"));
    }

    #[test]
    fn the_cuda_wheels_go_with_the_cuda_build_only() {
        assert_eq!(wheels("linux", "x86_64", false).len(), 3);
        assert_eq!(wheels("linux", "x86_64", true).len(), 15);
        assert_eq!(wheels("linux", "aarch64", true), [TORCH]);
        assert_eq!(wheels("macos", "aarch64", false), [TORCH]);
    }
}
