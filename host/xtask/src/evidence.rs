//! `cargo xtask evidence`: the study of adaptations on the emulated board, each of them computed again from its record.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;
use graftage_boards::DEFAULT;
use serde_json::Value;

use crate::graftage::Graftage;
use crate::{console, firmware, process, project, setup};

/// Where the data are.
#[derive(Args)]
pub struct Options {
    /// The folder with fsdd (logmel16x20_f32.npy, index.csv) and wisdm (WISDM_ar_v1.1_transformed.arff); what is not there is
    /// left out
    #[arg(long, value_name = "FOLDER", default_value = "../shared/data")]
    data: PathBuf,
}

/// A network whose training knew everything but a drift, or everybody but some groups.
struct Study {
    name: String,
    /// The trainer's configuration.
    config: String,
    /// Seeds of the streams for each group that training left out; none where a sensor drifts instead.
    streams: Option<&'static str>,
}

/// A row of the table.
#[derive(Default)]
struct Row {
    adaptations: u64,
    samples: u64,
    updates: u64,
    differing: u64,
    /// Accuracies before and after, a drift or a group each.
    accuracies: Vec<(f64, f64)>,
}

/// Trains, grafts, adapts on the board and computes again; results in `target/evidence`.
pub fn run(options: &Options) -> Result<()> {
    setup::run()?;
    process::run(process::cargo().args(["build", "--release", "--package=graftage"]).current_dir(project::root()))?;
    let started = Instant::now();
    let kinds = [("people", people(&options.data)?), ("speakers", speakers(&options.data)?), ("drifts", drifts()?)];
    let mut rows = Vec::new();
    for (kind, studies) in kinds {
        let mut row = Row::default();
        for study in &studies {
            study.run(&mut row).with_context(|| study.name.clone())?;
        }
        rows.push((kind, row));
    }
    console::say("\n| | adaptations | samples | updates | differing | before | after |\n|---|---|---|---|---|---|---|");
    for (kind, row) in &rows {
        let Row { adaptations, samples, updates, differing, accuracies } = row;
        let [before, after] = [|pair: &(f64, f64)| pair.0, |pair: &(f64, f64)| pair.1]
            .map(|of| spread(&accuracies.iter().map(of).collect::<Vec<_>>()));
        console::say(&format!(
            "| {} {kind} | {adaptations} | {samples} | {updates} | {differing} | {before} | {after} |",
            accuracies.len()
        ));
    }
    console::say(&format!("{} s on {}", started.elapsed().as_secs(), DEFAULT.name));
    let differing: u64 = rows.iter().map(|(_, row)| row.differing).sum();
    ensure!(differing == 0, "{differing} updates differ from what this machine computes");
    Ok(())
}

fn drifts() -> Result<Vec<Study>> {
    let config = with_data(include_str!("../../examples/digits.toml"), &project::fetched("data"), &["digits.csv.gz"])?;
    Ok(config.map(|config| Study { name: "digits".into(), config, streams: None }).into_iter().collect())
}

fn speakers(data: &Path) -> Result<Vec<Study>> {
    let config = include_str!("../../examples/speakers.toml");
    let Some(config) = with_data(config, &data.join("fsdd"), &["logmel16x20_f32.npy", "index.csv"])? else {
        return Ok(Vec::new());
    };
    let of = |name: &&str| Study {
        name: format!("speaker-{name}"),
        config: config.replace("[\"jackson\"]", &format!("[{name:?}]")),
        streams: Some("1..2"),
    };
    Ok(["george", "jackson", "nicolas", "yweweler"].iter().map(of).collect())
}

fn people(data: &Path) -> Result<Vec<Study>> {
    let config = include_str!("../../examples/people.toml");
    let Some(config) = with_data(config, &data.join("wisdm"), &["WISDM_ar_v1.1_transformed.arff"])? else {
        return Ok(Vec::new());
    };
    let nine = |first: usize| (first..=36).step_by(4).map(|person| person.to_string()).collect::<Vec<_>>();
    let fourth = format!("{:?}", nine(4));
    ensure!(config.contains(&fourth), "people.toml leaves other people out than {fourth}");
    let of = |first: usize| Study {
        name: format!("people-{}", first % 4),
        config: config.replace(&fourth, &format!("{:?}", nine(first))),
        streams: Some("1..3"),
    };
    Ok((1..=4).map(of).collect())
}

/// A configuration with its files in that folder; `None`, and a word, where they are not.
fn with_data(config: &str, folder: &Path, files: &[&str]) -> Result<Option<String>> {
    let mut config = config.to_owned();
    for file in files {
        let path = project::root().join(folder).join(file);
        if !path.is_file() {
            console::say(&format!("left out: {} is no file; --data FOLDER names another place", path.display()));
            return Ok(None);
        }
        config = config.replace(&format!("{file:?}"), &format!("{:?}", path.canonicalize()?));
    }
    Ok(Some(config))
}

impl Study {
    fn run(&self, row: &mut Row) -> Result<()> {
        let folder = project::root().join("target/evidence").join(&self.name);
        fs::create_dir_all(&folder)?;
        let graftage = Graftage { folder: &folder };
        let (config, output) = (folder.join("training.toml"), "output = \"training\"");
        let lines = self.config.lines().map(|line| if line.starts_with("output = ") { output } else { line });
        fs::write(config, lines.collect::<Vec<_>>().join("\n"))?;
        let network = "training/model.safetensors";
        graftage.run(&["train", "training.toml", "--force"])?;
        graftage.run(&["graft", network, "--output", "model", "--force"])?;
        let elf = firmware::build(DEFAULT, Some(&folder.join("model/network.rs")))?.join("adapt");
        let port = format!("qemu:{}", elf.display());
        for seeds in self.streams(&graftage, network)? {
            let [mut before, mut after] = [0.0; 2];
            for name in &seeds {
                let file = |part: &str| format!("streams/{name}.{part}");
                let (stream, test, record) = (file("stream.csv"), file("test.csv"), file("record"));
                let (session, replay) = (file("session.json"), file("replay.json"));
                graftage.run(
                    &[
                        &["adapt", "--port", &port, "--image", "model/image.grft", "--stream", &stream][..],
                        &["--test", &test, "--record", &record, "--output", &session, "--force"],
                    ]
                    .concat(),
                )?;
                // Where they differ it says so with its status, too.
                graftage.run(&["replay", &record, "--image", "model/image.grft", "--output", &replay, "--force"])?;
                let [session, replay] = [session, replay].map(|file| Numbers::read(&folder.join(file)));
                let (session, replay) = (session?, replay?);
                before += session.number("before")?;
                after += session.number("after")?;
                row.adaptations += 1;
                row.samples += session.count("samples")?;
                row.updates += session.count("updates")?;
                row.differing += differing(&replay)?;
            }
            let streams = seeds.len() as f64;
            row.accuracies.push((before / streams, after / streams));
        }
        Ok(())
    }

    /// Writes the streams; returns their names, those of one drift or group together.
    fn streams(&self, graftage: &Graftage, network: &str) -> Result<Vec<Vec<String>>> {
        fs::create_dir_all(graftage.folder.join("streams"))?;
        let Some(seeds) = self.streams else {
            let age = |seed: u32| {
                let (stream, test) = (format!("streams/{seed}.stream.csv"), format!("streams/{seed}.test.csv"));
                let seed = seed.to_string();
                graftage.run(&["age", network, "--seed", &seed, "--stream", &stream, "--test", &test, "--force"])?;
                Ok(vec![seed])
            };
            return (1..=10).map(age).collect();
        };
        graftage.run(&[
            "introduce",
            network,
            "--per-class",
            "5",
            "--streams",
            seeds,
            "--output",
            "streams",
            "--force",
        ])?;
        let mut names: Vec<String> = Vec::new();
        for entry in fs::read_dir(graftage.folder.join("streams"))? {
            names.extend(
                entry?.file_name().to_str().and_then(|name| name.strip_suffix(".stream.csv")).map(str::to_owned),
            );
        }
        names.sort();
        let group = |name: &String| name.rsplit_once('-').map(|(group, _)| group.to_owned());
        Ok(names.chunk_by(|a, b| group(a) == group(b)).map(<[String]>::to_vec).collect())
    }
}

/// A file of numbers that a command wrote.
struct Numbers {
    path: PathBuf,
    value: Value,
}

impl Numbers {
    fn read(path: &Path) -> Result<Self> {
        Ok(Self { path: path.to_owned(), value: serde_json::from_slice(&fs::read(path)?)? })
    }

    fn number(&self, key: &str) -> Result<f64> {
        self.value[key].as_f64().with_context(|| format!("{}: no number {key}", self.path.display()))
    }

    fn count(&self, key: &str) -> Result<u64> {
        self.value[key].as_u64().with_context(|| format!("{}: no count {key}", self.path.display()))
    }
}

/// In how many places a replay, by core and by libtorch, differs from the board.
fn differing(replay: &Numbers) -> Result<u64> {
    let targets = replay.value["targets"].as_array().filter(|targets| targets.len() == 3);
    let targets = targets.with_context(|| format!("{}: not three targets", replay.path.display()))?;
    targets.iter().map(|target| target["differing"].as_u64().context("no count of what differs")).sum()
}

/// Mean ± sample standard deviation.
fn spread(numbers: &[f64]) -> String {
    let count = numbers.len() as f64;
    let mean = numbers.iter().sum::<f64>() / count;
    let deviation = (numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (count - 1.0)).sqrt();
    format!("{mean:.3} ± {deviation:.3}")
}
