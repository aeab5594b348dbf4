//! `cargo xtask fuzz`: feeds arbitrary bytes to the parsers of images, snapshots and frames.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::process::Heard;
use crate::toolchain::host;
use crate::{console, process, project};

/// Fuzz targets: the programs in tests/fuzz/fuzz_targets.
const TARGETS: [&str; 3] = ["image", "snapshot", "link"];

/// Maximum length of an input. Images, snapshots and frames of the targets are shorter.
const LONGEST: &str = "-max_len=1024";

/// Time limit of an input, in seconds. A slower one is a finding; usual ones take a ten-thousandth.
const TIMEOUT: &str = "-timeout=10";

/// Time beyond that given to a target, for the inputs that it has kept.
const LIMIT: Duration = Duration::from_secs(600);

/// Folder in which the fuzz targets are built.
const FOLDER: &str = "target/fuzz";

/// Compiler flags that cargo-fuzz 0.13 sets without a sanitizer.
const COVERAGE: [&str; 8] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-sanitizer-coverage-stack-depth",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
];

/// Options of `cargo xtask fuzz`.
#[derive(Args)]
pub struct Options {
    /// Seconds per target
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub seconds: u32,
    /// Run only this target; can be given more than once
    #[arg(long = "target", value_name = "NAME", value_parser = TARGETS)]
    pub targets: Vec<String>,
}

/// Runs the targets one after another and prints a line for each. The error lists the findings of all of them.
pub fn run(options: &Options) -> Result<()> {
    process::long("building the fuzz targets", cargo("build")?.arg("--bins"), None)?;
    console::say(&format!("{:<10} {:>12} {:>10}  findings", "target", "executions", "coverage"));
    let mut findings = Vec::new();
    for target in TARGETS {
        if options.targets.is_empty() || options.targets.iter().any(|name| name == target) {
            findings.extend(fuzz(target, options.seconds)?);
        }
    }
    if !findings.is_empty() {
        bail!("{}", findings.join("\n"));
    }
    Ok(())
}

/// Runs clippy on the targets, warnings as errors.
pub fn lint() -> Result<()> {
    process::run(cargo("clippy")?.args(["--quiet", "--", "-D", "warnings"]))
}

/// Runs a target, which continues from the inputs that it has kept. Returns its finding, if any: at most one.
fn fuzz(target: &str, seconds: u32) -> Result<Option<String>> {
    let program = Path::new(FOLDER).join(host()?).join("release").join(target);
    let [corpus, artifacts] = ["corpus", "artifacts"].map(|kind| format!("tests/fuzz/{kind}/{target}/"));
    for folder in [&corpus, &artifacts] {
        fs::create_dir_all(project::root().join(folder)).with_context(|| format!("cannot create {folder}"))?;
    }
    let program = || {
        let mut command = Command::new(&program);
        command.current_dir(project::root());
        command
    };
    let (time, place) = (format!("-max_total_time={seconds}"), format!("-artifact_prefix={artifacts}"));
    let mut command = program();
    command.args([&corpus, &place, &time, LONGEST, TIMEOUT, "-print_final_stats=1"]);
    let limit = Duration::from_secs(seconds.into()) + LIMIT;
    let Heard { status, stderr: log } = process::heard(&mut command, limit)?;
    let report = report(&log).with_context(|| format!("`{}` printed: {log}", process::shown(&command)))?;
    let found = report.found.unwrap_or("none");
    console::say(&format!("{target:<10} {:>12} {:>10}  {found}", report.executions, report.coverage));
    ensure!(status.success() || report.found.is_some(), "`{}` failed ({status}): {log}", process::shown(&command));
    Ok(report.found.map(|input| {
        let mut again = program();
        again.arg(input);
        format!("{target}: {}\n  input {input}\n  reproduce with `{}`", report.why, process::shown(&again))
    }))
}

/// Returns a cargo command for the fuzz package, with the compiler flags that libFuzzer needs: coverage in the
/// programs, and none in what builds them. Without a sanitizer, a stable compiler is enough; the project's own code is
/// free of `unsafe`.
fn cargo(task: &str) -> Result<Command> {
    let mut cargo = process::cargo();
    cargo.args([task, "--release", "--manifest-path=tests/fuzz/Cargo.toml", "--target", &host()?]);
    cargo.args(["--target-dir", FOLDER]).env("RUSTFLAGS", COVERAGE.join(" ")).current_dir(project::root());
    Ok(cargo)
}

/// Summary that libFuzzer prints at the end.
#[derive(Debug, PartialEq)]
struct Report<'a> {
    executions: u64,
    /// Covered edges of the control flow, and what else libFuzzer counts.
    coverage: u64,
    /// File with the failing input.
    found: Option<&'a str>,
    /// First line of the reason.
    why: &'a str,
}

/// Parses libFuzzer's log; `None` if the target did not run.
fn report(log: &str) -> Option<Report<'_>> {
    let number = |text: &str| text.split_whitespace().next()?.parse().ok();
    let after = |text| log.lines().filter_map(|line| Some(line.split_once(text)?.1)).next_back();
    let panic = log.lines().skip_while(|line| !line.contains(" panicked at ")).nth(1);
    Some(Report {
        executions: number(after("stat::number_of_executed_units:")?)?,
        coverage: number(after(" cov: ")?)?,
        found: after("Test unit written to "),
        why: panic.or_else(|| after("ERROR: libFuzzer: ")).unwrap_or("it failed"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = "#2\tINITED cov: 7 ft: 8 corp: 1/1b exec/s: 0 rss: 31Mb\n";
    const END: &str = "stat::number_of_executed_units: 300\nstat::average_exec_per_sec:     100\n";

    #[test]
    fn a_run_without_findings_is_read() {
        let log = format!("{START}#300\tDONE   cov: 12 ft: 20 corp: 6/30Kb\nDone 300 runs in 3 second(s)\n{END}");
        let expected = Report { executions: 300, coverage: 12, found: None, why: "it failed" };
        assert_eq!(report(&log), Some(expected));
        assert_eq!(report("error: could not compile"), None);
    }

    #[test]
    fn a_finding_is_read_with_its_file_and_its_reason() {
        let file = "tests/fuzz/artifacts/image/crash-0f";
        let end = format!("artifact_prefix='x/'; Test unit written to {file}\n{END}");
        let panic = "thread '<unnamed>' (1) panicked at src/lib.rs:1:2:\nindex out of bounds\n";
        let log = format!("{START}{panic}==1== ERROR: libFuzzer: deadly signal\n{end}");
        let expected = Report { executions: 300, coverage: 7, found: Some(file), why: "index out of bounds" };
        assert_eq!(report(&log), Some(expected));
        let log = format!("{START}==1== ERROR: libFuzzer: timeout after 10 seconds\n{end}");
        assert_eq!(report(&log).unwrap().why, "timeout after 10 seconds");
    }
}
