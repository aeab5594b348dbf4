//! `cargo xtask soak`: runs long lives of the emulated board, one alone, one on its link, and one with a sensor that
//! ages, and compares them with core on this machine.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use graftage_boards::{BOARDS, DEFAULT};

use crate::graftage::{self, Graftage};
use crate::{console, firmware, process, project, setup};

/// Time allowed for a request. A board that answers takes a thousandth of it; saves and resets are included.
const AN_ASK: Duration = Duration::from_millis(50);

/// Address where the program looks for its seed and its number of requests (`firmware/src/bin/soak/world.rs`).
const GIVEN: u64 = 0x2100_0000;

/// Options of `cargo xtask soak`.
#[derive(Args)]
pub struct Options {
    /// Labelled samples that the board generates itself; one in 400 is the end of a session instead
    #[arg(long, value_name = "N", default_value_t = 1_003_000)]
    pub samples: u64,
    /// Samples over the link; one in 200 is the end of a session instead
    #[arg(long, value_name = "N", default_value_t = 10_100)]
    pub linked: u64,
    /// Samples that the demo's network learns over the link with a sensor that ages; one in twenty has a wrong label
    #[arg(long, value_name = "N", default_value_t = 5000)]
    pub aged: u64,
    /// Seed of the generated samples and of the ageing sensor
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Runs all three lives.
pub fn run(Options { samples, linked, aged, seed }: &Options) -> Result<()> {
    alone(*samples, *seed)?;
    console::say("");
    through_an_ageing_sensor(*aged, *seed)?;
    console::say("");
    // The test requires the firmware of every emulated board.
    for board in BOARDS.iter().filter(|board| board.machine().is_some()) {
        firmware::build(board, None)?;
    }
    let mut test = process::cargo();
    test.args(["test", "--quiet", "--release", "--test=it"]).args(project::TOGETHER).args(["--", "--nocapture"]);
    test.args(["--exact", "persistence::a_long_life_on_the_link_with_faults_and_kills_is_the_one_that_core_computes"]);
    test.env("GRAFTAGE_LINKED", linked.to_string()).env("GRAFTAGE_REQUIRE_BOARD", "1");
    let said = process::long("a long life on the link", test.current_dir(project::root()), None)?;
    let lived = said.lines().find_map(|line| Some(&line[line.find("seed ")?..])).context("the test did not run")?;
    console::say(lived);
    Ok(())
}

/// Runs the demo's network on the board while its sensor ages, and computes the record again.
fn through_an_ageing_sensor(samples: u64, seed: u64) -> Result<()> {
    setup::run()?;
    graftage::build()?;
    let folder = project::root().join("target/soak");
    fs::create_dir_all(&folder)?;
    let graftage = Graftage { folder: &folder };
    let data = project::fetched("data/digits.csv.gz").display().to_string();
    let config = include_str!("../../examples/digits.toml").replace("\"digits.csv.gz\"", &format!("{data:?}"));
    fs::write(folder.join("digits.toml"), config)?;
    let network = "training/model.safetensors";
    graftage.run(&["train", "digits.toml", "--force"])?;
    graftage.run(&["graft", network, "--output", "model", "--force"])?;
    let elf = firmware::build(DEFAULT, Some(&folder.join("model/network.rs")))?.join("adapt");
    let (samples, seed) = (samples.to_string(), seed.to_string());
    let life = ["--life", &samples, "--seed", &seed, "--wrong-labels", "0.05"];
    graftage
        .run(&[&["age", network, "--stream", "stream.csv", "--test", "test.csv", "--force"], &life[..]].concat())?;
    let port = format!("qemu:{}", elf.display());
    let met = ["--stream", "stream.csv", "--test", "test.csv", "--record", "life.record", "--force"];
    graftage.run(&[&["adapt", "--port", &port, "--image", "model/image.grft"], &met[..]].concat())?;
    // This fails if the replay differs.
    graftage.run(&["replay", "life.record", "--image", "model/image.grft"])
}

/// Runs a board that generates its samples itself.
pub fn alone(samples: u64, seed: u64) -> Result<()> {
    process::run(&mut firmware::cargo("build", DEFAULT, &["soak"])?)?;
    let machine = DEFAULT.machine().context("the board is not emulated")?;
    let mut board = machine.command(&firmware::built(DEFAULT).join("soak"));
    // Standard output carries the log, so the report goes to a file.
    let said = project::root().join("target/soak.txt");
    board.arg("-serial").arg(format!("file:{}", said.display()));
    for (address, number) in (GIVEN..).step_by(8).zip([seed, samples]) {
        board.arg("-device").arg(format!("loader,addr={address:#x},data={number},data-len=8"));
    }
    let limit = Duration::from_secs(60) + AN_ASK * u32::try_from(samples)?;
    let started = Instant::now();
    let ended = process::limited(&mut board, limit);
    let (seconds, lived) = (started.elapsed().as_secs(), fs::read_to_string(said)?);
    ended
        .with_context(|| format!("on the board, whose last line was: {}", lived.lines().last().unwrap_or_default()))?;
    let mut core = replay();
    let expected = process::output(core.args([seed, samples].map(|number| number.to_string())))?;
    let mut lived = lived.lines();
    for (expected, line) in expected.lines().zip(&mut lived) {
        if expected != line {
            bail!("the board printed\n{line}\nbut core on this machine printed\n{expected}");
        }
        console::say(line);
    }
    let resets = lived.next().context("the board did not reach the end")?;
    console::say(&format!(
        "seed {seed}: {resets}; {seconds} s on {}; core on this machine gives the same result",
        DEFAULT.name
    ));
    Ok(())
}

/// Returns a command that runs the same program, built for this machine.
fn replay() -> Command {
    let mut cargo = process::cargo();
    cargo.args(["run", "--quiet", "--release", "--bin", "soak", "--features", DEFAULT.name, "--"]);
    cargo.current_dir(project::root().join("firmware"));
    cargo
}
