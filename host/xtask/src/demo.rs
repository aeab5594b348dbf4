//! `cargo xtask demo`: runs the whole story on real data, with the commands that any user would type.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use graftage_boards::DEFAULT;

use crate::graftage::{self, Graftage};
use crate::{console, firmware, project, setup};

/// Trained network, in the demo's folder.
const NETWORK: &str = "training/model.safetensors";

/// Runs the demo. The results lie in `target/demo`.
pub fn run() -> Result<()> {
    let started = Instant::now();
    setup::run()?;
    step("Building graftage and the firmware (the first time, libtorch's bindings take minutes)");
    graftage::build()?;
    let folder = project::root().join("target/demo");
    std::fs::create_dir_all(&folder)?;
    let graftage = Graftage { folder: &folder };
    let data = project::fetched("data/digits.csv.gz").display().to_string();

    step("A network learns upright digits in libtorch, with core's rule on tensors");
    let config = include_str!("../../examples/digits.toml").replace("\"digits.csv.gz\"", &format!("{data:?}"));
    std::fs::write(folder.join("digits.toml"), config)?;
    graftage.run(&["train", "digits.toml", "--force"])?;
    step(
        "The sensor ages: which rule and which step size work best? Tuned on ageing seeds 11 to 15, reported on 1 to 10",
    );
    graftage.run(&["rehearse", NETWORK, "--output", "rehearsal.json", "--force"])?;
    step("The network is grafted: a weights image and the type of the network for the firmware");
    graftage.run(&["graft", NETWORK, "--rehearsal", "rehearsal.json", "--output", "model", "--force"])?;
    let elf = firmware::build(DEFAULT, Some(&folder.join("model/network.rs")))?.join("adapt").display().to_string();
    step("The board gets the sensor aged by seed 1 and learns from 200 labelled samples");
    graftage.run(&["age", NETWORK, "--seed", "1", "--stream", "stream.csv", "--test", "test.csv", "--force"])?;
    graftage.run(&[
        "adapt",
        "--port",
        &format!("qemu:{elf}"),
        "--image",
        "model/image.grft",
        "--stream",
        "stream.csv",
        "--test",
        "test.csv",
        "--record",
        "session.record",
        "--log",
        "board.log",
        "--output",
        "session.json",
        "--memory",
        "memory.json",
        "--force",
    ])?;
    step("The workstation recomputes every update of the board");
    let replay =
        ["replay", "session.record", "--image", "model/image.grft", "--output", "verification.json", "--force"];
    graftage.run(&replay)?;
    let seconds = started.elapsed().as_secs();
    step(&format!(
        "Done in {seconds} s: see target/demo/report.html for the story, target/demo/summary.json for the numbers"
    ));
    graftage.run(&["report", ".", "--force"])
}

/// Fails if the demo's numbers are not those that the project promises.
pub fn accept() -> Result<()> {
    let path = project::root().join("target/demo/summary.json");
    let summary: serde_json::Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    let number = |key: &str| summary[key].as_f64().with_context(|| format!("{}: no number {key}", path.display()));
    let targets = summary["targets"].to_string();
    let promises = [
        ("accuracy_clean ≥ 0.96", number("accuracy_clean")? >= 0.96),
        ("recovered ≥ 0.70", number("recovered")? >= 0.70),
        ("adapted_mean ≥ 0.93", number("adapted_mean")? >= 0.93),
        ("updates = 400", number("updates")? == 400.0),
        ("differing_updates = 0", number("differing_updates")? == 0.0),
        ("x86_64 among the targets", targets.contains(std::env::consts::ARCH)),
        ("mps2-an386 among the targets", targets.contains("mps2-an386")),
        ("libtorch-exact among the targets", targets.contains("libtorch-exact")),
    ];
    match promises.iter().find(|(_, kept)| !kept) {
        Some((promise, _)) => bail!("{}: not {promise}", path.display()),
        None => Ok(()),
    }
}

fn step(line: &str) {
    console::say(&format!("\n== {line}"));
}
