//! `cargo xtask bench core`: how fast core is. On the emulated Cortex-M4F instructions are counted, which are the same in
//! every run, and gated; on this machine times are compared with peers in one run, and only reported.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use graftage_boards::DEFAULT;
use serde_json::{Value, json};

use crate::{console, firmware, process, project};

/// What to measure.
#[derive(Clone, Subcommand)]
pub enum Bench {
    /// Core's products, directions and training steps
    Core {
        /// Print only a JSON object: the counts, and the comparisons on this machine
        #[arg(long)]
        json: bool,
    },
}

/// Counting takes seconds; a program that hangs does not end.
const LIMIT: Duration = Duration::from_secs(300);

/// What peers take on the same emulated processor, counted in the same way at -O3: instructions.
const PEERS: [(&str, u64, &str); 8] = [
    // 3.50 for each of 131,072 multiply-accumulates; CMSIS-DSP, which fuses, takes 5.26.
    ("product 64×32×64", 458_752, "nalgebra"),
    ("product 32×32×32", 131_400, "nalgebra"),
    ("product 64×64×64", 904_397, "nalgebra"),
    ("step 128-32-6 sign batch 1", 91_000, "plain C, SGD"),
    ("step 128-32-6 sign batch 8", 408_000, "plain C, SGD"),
    ("step 64-32-10 sign batch 1", 51_000, "plain C, SGD"),
    ("step 64-32-10 sign batch 8", 225_000, "plain C, SGD"),
    ("direction PolarExpress5 64×64", 5_680_000, "assembly, vmla"),
];

/// The most instructions that each may take.
const LIMITS: [(&str, u64); 6] = [
    // 2.1 and 4.0 for each multiply-accumulate.
    ("product 64×32×64", 275_251),
    ("product 30×50×7", 42_000),
    ("direction PolarExpress5 64×64", 5_250_000),
    ("direction PolarExpress5 32×128", 1_900_000),
    ("step 128-32-6 sign batch 1", 120_000),
    ("step 128-32-6 sign batch 8", 340_000),
];

/// One line of the table.
#[derive(Clone, Debug, PartialEq)]
struct Count {
    name: String,
    instructions: u64,
}

impl Count {
    fn peer(&self) -> Option<(u64, &'static str)> {
        PEERS.iter().find(|(name, ..)| *name == self.name).map(|(_, count, peer)| (*count, *peer))
    }

    fn limit(&self) -> Option<u64> {
        LIMITS.iter().find(|(name, _)| *name == self.name).map(|(_, limit)| *limit)
    }

    fn exceeds(&self) -> bool {
        self.limit().is_some_and(|limit| self.instructions > limit)
    }
}

/// Measures, prints, and fails where a count is above its limit.
pub fn run(Bench::Core { json }: Bench) -> Result<()> {
    let counts = counts()?;
    if !json {
        table(&counts);
    }
    let times = times(json)?;
    if json {
        let counts: Vec<Value> = counts.iter().map(as_json).collect();
        let times: Value = serde_json::from_str(&times).context("the example prints no JSON")?;
        console::say(&json!({ "counts": counts, "times": times }).to_string());
    }
    within(&counts)
}

/// Counts, prints, and fails where a count is above its limit.
pub fn gate() -> Result<()> {
    let counts = counts()?;
    table(&counts);
    within(&counts)
}

fn within(counts: &[Count]) -> Result<()> {
    let exceeding: Vec<_> = counts.iter().filter(|count| count.exceeds()).map(|count| count.name.as_str()).collect();
    if !exceeding.is_empty() {
        bail!("more instructions than the limit: {}", exceeding.join(", "));
    }
    Ok(())
}

fn table(counts: &[Count]) {
    console::say(&format!("{:<36} {:>12} {:>10} {:>6}  peer", "Cortex-M4F", "instructions", "limit", "ratio"));
    for count in counts {
        let limit = count.limit().map_or(String::new(), |limit| limit.to_string());
        let (ratio, peer) = match count.peer() {
            Some((peer, name)) => (format!("{:.2}", peer as f64 / count.instructions as f64), name),
            None => (String::new(), ""),
        };
        console::say(&format!("{:<36} {:>12} {limit:>10} {ratio:>6}  {peer}", count.name, count.instructions));
    }
}

fn as_json(count: &Count) -> Value {
    let Count { name, instructions } = count;
    let peer = count.peer().map(|(instructions, name)| json!({ "name": name, "instructions": instructions }));
    json!({ "name": name, "instructions": instructions, "limit": count.limit(), "peer": peer })
}

/// Builds the firmware's bench as peers are built, runs it and reads what it counted.
fn counts() -> Result<Vec<Count>> {
    let machine = DEFAULT.machine().context("the board is not emulated")?;
    process::run(&mut firmware::cargo("build", DEFAULT, "count")?)?;
    let mut qemu = machine.command(&firmware::folder(DEFAULT, "count").join("bench"));
    // One instruction is 2^5 ns of the board's time.
    qemu.args(["-icount", "shift=5", "-serial", "stdio"]);
    parse(&process::limited(&mut qemu, LIMIT)?)
}

/// The lines `INSTRUCTIONS NAME`, up to the one that says that all came.
fn parse(output: &str) -> Result<Vec<Count>> {
    let Some((lines, _)) = output.split_once("end of bench") else { bail!("the bench did not come to its end") };
    let count = |line: &str| {
        let (instructions, name) = line.split_once(' ')?;
        Some(Count { name: name.to_owned(), instructions: instructions.parse().ok()? })
    };
    lines.lines().map(|line| count(line).with_context(|| format!("unexpected line of the bench: {line:?}"))).collect()
}

/// What the example says of this machine.
fn times(json: bool) -> Result<String> {
    let mut cargo = process::cargo();
    cargo.args(["run", "--quiet", "--profile", "fast", "--package", "graftage", "--no-default-features"]);
    cargo.args(["--target-dir", "target/without-torch", "--example", "speed"]).current_dir(project::root());
    if json {
        return process::output(cargo.args(["--", "--json"]));
    }
    process::run(&mut cargo).map(|()| String::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_and_gated() {
        let counts = parse("275251 product 64×32×64\n42001 product 30×50×7\n7 other\nend of bench\n").unwrap();
        assert_eq!(counts.iter().map(|count| count.exceeds()).collect::<Vec<_>>(), [false, true, false]);
        assert!(within(&counts).unwrap_err().to_string().ends_with("the limit: product 30×50×7"));
        assert!(within(&counts[..1]).is_ok());
        assert_eq!(counts[2], Count { name: "other".into(), instructions: 7 });
        assert_eq!(counts[0].peer(), Some((458_752, "nalgebra")));
    }

    #[test]
    fn a_bench_that_did_not_end_says_so() {
        assert!(parse("1 a\n").unwrap_err().to_string().contains("did not come to its end"));
        assert!(parse("no number\nend of bench").unwrap_err().to_string().contains("unexpected line"));
    }

    #[test]
    fn what_is_gated_is_named_as_the_firmware_names_it() {
        let bench = include_str!("../../../firmware/src/bin/bench.rs");
        for (name, _) in LIMITS {
            let kind = name.split(' ').next().unwrap();
            assert!(bench.contains(&format!("\"{kind} ")), "{name}");
        }
    }
}
