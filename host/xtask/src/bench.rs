//! `cargo xtask bench core`: measures how fast core is and what a device takes. On the emulated Cortex-M4F it counts
//! instructions and bytes, which are the same in every run; instructions have limits. On this machine it compares times
//! with those of peers in one run, and only reports them.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use graftage_boards::DEFAULT;
use serde_json::{Value, json};

use crate::{console, firmware, process, project};

/// Benchmarks of `cargo xtask bench`.
#[derive(Clone, Subcommand)]
pub enum Bench {
    /// Measure core's products, directions and training steps, and the work and memory of devices
    Core {
        /// Print only a JSON object: the counts, the bytes, and the comparisons on this machine
        #[arg(long)]
        json: bool,
    },
}

/// Time limit for counting, which takes seconds. A program that hangs does not end by itself.
const LIMIT: Duration = Duration::from_secs(300);

/// Instructions that peers take on the same emulated processor, counted in the same way at -O3.
const PEERS: [(&str, u64, &str); 8] = [
    // 3.50 for each of 131,072 multiply-accumulates. CMSIS-DSP, which fuses, takes 5.26.
    ("product 64×32×64", 458_752, "nalgebra"),
    ("product 32×32×32", 131_400, "nalgebra"),
    ("product 64×64×64", 904_397, "nalgebra"),
    ("step 128-32-6 sign batch 1", 91_000, "plain C, SGD"),
    ("step 128-32-6 sign batch 8", 408_000, "plain C, SGD"),
    ("step 64-32-10 sign batch 1", 51_000, "plain C, SGD"),
    ("step 64-32-10 sign batch 8", 225_000, "plain C, SGD"),
    ("direction PolarExpress5 64×64", 5_680_000, "assembly, vmla"),
];

/// Maximum number of instructions of each measurement.
const LIMITS: [(&str, u64); 10] = [
    // 2.1 and 4.0 for each multiply-accumulate.
    ("product 64×32×64", 275_251),
    ("product 30×50×7", 42_000),
    ("direction PolarExpress5 64×64", 5_300_000),
    ("direction PolarExpress5 32×128", 1_900_000),
    ("step 128-32-6 sign batch 1", 120_000),
    ("step 128-32-6 sign batch 8", 340_000),
    // 10 for each of 2,410 weights, and 100 for each sample.
    ("pull of a step 64-32-10", 24_100),
    ("cap of a sample of 10 classes", 100),
    ("longest slice 64-32-10 sign", 117_000),
    ("longest slice 64-32-10 spectral", 1_880_000),
];

/// Measurements of the firmware's bench.
struct Measured {
    counts: Vec<Count>,
    /// Names and bytes, in the build that is shipped.
    bytes: Vec<(String, u64)>,
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq)]
struct Count {
    name: String,
    instructions: u64,
    /// Instructions in the build that is shipped.
    shipped: u64,
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

/// Measures and prints everything. Fails if a count is above its limit.
pub fn run(Bench::Core { json }: Bench) -> Result<()> {
    let measured = measure()?;
    if !json {
        table(&measured);
    }
    let times = times(json)?;
    if json {
        let counts: Vec<Value> = measured.counts.iter().map(as_json).collect();
        let bytes: Vec<Value> =
            measured.bytes.iter().map(|(name, bytes)| json!({ "name": name, "bytes": bytes })).collect();
        let times: Value = serde_json::from_str(&times).context("the example does not print JSON")?;
        console::say(&json!({ "counts": counts, "bytes": bytes, "times": times }).to_string());
    }
    within(&measured.counts)
}

/// Counts and prints, without comparing times. Fails if a count is above its limit.
pub fn gate() -> Result<()> {
    let measured = measure()?;
    table(&measured);
    within(&measured.counts)
}

fn within(counts: &[Count]) -> Result<()> {
    let exceeding: Vec<_> = counts.iter().filter(|count| count.exceeds()).map(|count| count.name.as_str()).collect();
    if !exceeding.is_empty() {
        bail!("more instructions than the limit: {}", exceeding.join(", "));
    }
    Ok(())
}

fn table(Measured { counts, bytes }: &Measured) {
    console::say(&format!(
        "{:<36} {:>12} {:>10} {:>12} {:>6}  peer",
        "Cortex-M4F", "instructions", "limit", "as shipped", "ratio"
    ));
    for count in counts {
        let limit = count.limit().map_or(String::new(), |limit| limit.to_string());
        let (ratio, peer) = match count.peer() {
            Some((peer, name)) => (format!("{:.2}", peer as f64 / count.instructions as f64), name),
            None => (String::new(), ""),
        };
        let Count { name, instructions, shipped } = count;
        console::say(&format!("{name:<36} {instructions:>12} {limit:>10} {shipped:>12} {ratio:>6}  {peer}"));
    }
    console::say(&format!("{:<36} {:>12}", "As shipped", "bytes"));
    for (name, bytes) in bytes {
        console::say(&format!("{name:<36} {bytes:>12}"));
    }
}

fn as_json(count: &Count) -> Value {
    let Count { name, instructions, shipped } = count;
    let peer = count.peer().map(|(instructions, name)| json!({ "name": name, "instructions": instructions }));
    json!({ "name": name, "instructions": instructions, "shipped": shipped, "limit": count.limit(), "peer": peer })
}

/// Runs the firmware's bench twice: built as the peers are, and built as the firmware is shipped.
fn measure() -> Result<Measured> {
    together(&parse(&lines(&FAST)?)?, parse(&lines(&[])?)?)
}

/// Cargo settings with which those peers are built whose instructions are known.
const FAST: [&str; 2] = ["profile.release.opt-level=3", "profile.release.package.graftage-core.opt-level=3"];

/// Builds the firmware's bench with these settings in place of the firmware's, runs it and returns its output.
fn lines(settings: &[&str]) -> Result<String> {
    let machine = DEFAULT.machine().context("the board is not emulated")?;
    let mut cargo = firmware::cargo("build", DEFAULT, &["bench"])?;
    process::run(cargo.args(settings.iter().flat_map(|setting| ["--config", setting])))?;
    let mut qemu = machine.command(&firmware::built(DEFAULT).join("bench"));
    // One instruction is 2^5 ns of the board's time.
    qemu.args(["-icount", "shift=5", "-serial", "stdio"]);
    process::limited(&mut qemu, LIMIT)
}

/// Joins the measurements of two builds. Fails if they do not measure the same.
fn together(fast: &[Line], shipped: Vec<Line>) -> Result<Measured> {
    if !fast.iter().map(Line::measured).eq(shipped.iter().map(Line::measured)) {
        bail!("the two builds of the benchmark do not measure the same operations");
    }
    let mut measured = Measured { counts: Vec::new(), bytes: Vec::new() };
    for (fast, Line { number, unit, name }) in fast.iter().zip(shipped) {
        match unit {
            Unit::Instructions => {
                measured.counts.push(Count { name, instructions: fast.number, shipped: number });
            }
            Unit::Bytes => measured.bytes.push((name, number)),
        }
    }
    Ok(measured)
}

/// One line of the bench.
#[derive(Debug, PartialEq)]
struct Line {
    number: u64,
    unit: Unit,
    name: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Unit {
    Instructions,
    Bytes,
}

impl Line {
    /// Returns what the line measures, and its unit.
    fn measured(&self) -> (&str, Unit) {
        (&self.name, self.unit)
    }
}

/// Parses the lines `NUMBER UNIT NAME`, up to the line that marks the end.
fn parse(output: &str) -> Result<Vec<Line>> {
    let Some((lines, _)) = output.split_once("end of bench") else { bail!("the benchmark did not reach its end") };
    let line = |line: &str| {
        let (number, rest) = line.split_once(' ')?;
        let (unit, name) = rest.split_once(' ')?;
        let unit = match unit {
            "instructions" => Unit::Instructions,
            "bytes" => Unit::Bytes,
            _ => return None,
        };
        Some(Line { number: number.parse().ok()?, unit, name: name.to_owned() })
    };
    lines
        .lines()
        .map(|text| line(text).with_context(|| format!("unexpected line from the benchmark: {text:?}")))
        .collect()
}

/// Compares times on this machine. Returns the comparison's JSON, or an empty string if it printed a table.
fn times(json: bool) -> Result<String> {
    let mut cargo = process::cargo();
    cargo.args(["run", "--quiet", "--profile", "fast", "--package", "graftage-speed"]);
    cargo.args(["--target-dir", "target/without-torch"]).current_dir(project::root());
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
        let fast =
            "275251 instructions product 64×32×64\n42001 instructions product 30×50×7\n8 bytes stack\nend of bench\n";
        let fast = parse(fast).unwrap();
        let shipped =
            "275300 instructions product 64×32×64\n42009 instructions product 30×50×7\n7 bytes stack\nend of bench";
        let Measured { counts, bytes } = together(&fast, parse(shipped).unwrap()).unwrap();
        assert_eq!(counts.iter().map(|count| count.exceeds()).collect::<Vec<_>>(), [false, true]);
        assert!(within(&counts).unwrap_err().to_string().ends_with("the limit: product 30×50×7"));
        assert!(within(&counts[..1]).is_ok());
        assert_eq!(counts[1], Count { name: "product 30×50×7".into(), instructions: 42_001, shipped: 42_009 });
        assert_eq!(counts[0].peer(), Some((458_752, "nalgebra")));
        assert_eq!(bytes, [("stack".to_owned(), 7)]);
        for other in ["275300 instructions product 64×32×64\nend of bench", "end of bench"] {
            assert!(together(&fast, parse(other).unwrap()).is_err_and(|error| error.to_string().contains("the same")));
        }
    }

    #[test]
    fn a_bench_that_did_not_end_says_so() {
        assert!(parse("1 bytes a\n").unwrap_err().to_string().contains("did not reach its end"));
        for line in ["no bytes of it", "1 miles a", "1 a"] {
            let error = parse(&format!("{line}\nend of bench")).unwrap_err();
            assert!(error.to_string().contains("unexpected line"), "{error}");
        }
    }

    #[test]
    fn gated_counts_have_the_names_of_the_firmware() {
        let bench = include_str!("../../../firmware/src/bin/bench/main.rs");
        for (name, _) in LIMITS {
            let kind = name.split(' ').next().unwrap();
            assert!(bench.contains(&format!("\"{kind} ")), "{name}");
        }
    }
}
