//! `cargo xtask evidence`: runs the study of adaptations on the emulated board and computes each of them again from its
//! record.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;
use graftage_boards::DEFAULT;
use serde_json::Value;

use crate::graftage::{self, Graftage};
use crate::{console, firmware, project, setup};

/// Options of `cargo xtask evidence`.
#[derive(Args)]
pub struct Options {
    /// Folder with fsdd (logmel16x20_f32.npy, index.csv) and wisdm (WISDM_ar_v1.1_transformed.arff). Speakers or people
    /// without files there are left out, and a line says where the data are published
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
}

/// Data set that others publish and that no clone of this project contains.
struct Published {
    /// Kind of subjects in the data, in the plural.
    whom: &'static str,
    /// Description of the data, and the address where they are published.
    what: &'static str,
    /// Folder below that of all data, and the files in it.
    folder: &'static str,
    files: &'static [&'static str],
}

const SPEAKERS: Published = Published {
    whom: "speakers",
    what: "the Free Spoken Digit Dataset, https://github.com/Jakobovski/free-spoken-digit-dataset, as log mel energies",
    folder: "fsdd",
    files: &["logmel16x20_f32.npy", "index.csv"],
};

const PEOPLE: Published = Published {
    whom: "people",
    what: "WISDM's Activity Prediction v1.1, https://www.cis.fordham.edu/wisdm/dataset.php",
    folder: "wisdm",
    files: &["WISDM_ar_v1.1_transformed.arff"],
};

impl Published {
    /// Returns a configuration with the paths of its files. If one is missing, returns `None` and prints a line that
    /// says so.
    fn configured(&self, config: &str, data: Option<&Path>) -> Result<Option<String>> {
        let folder = data.map(|data| data.join(self.folder));
        let missing = match &folder {
            None => Some("--data FOLDER is missing".to_owned()),
            Some(folder) => {
                let mut paths = self.files.iter().map(|file| folder.join(file));
                paths.find(|path| !path.is_file()).map(|path| format!("{} is not a file", path.display()))
            }
        };
        match (missing, folder) {
            (None, Some(folder)) => with_files(config, &folder, self.files).map(Some),
            (missing, _) => {
                console::say(&self.lack(&missing.unwrap_or_default()));
                Ok(None)
            }
        }
    }

    /// Returns the line for a user who lacks the data.
    fn lack(&self, missing: &str) -> String {
        let Self { whom, what, folder, files } = self;
        let files = files.join(" and ");
        format!(
            "leaving out {whom}, because {missing}: put {files} into FOLDER/{folder}, made from {what}; see docs/evidence.md"
        )
    }
}

/// Network to train, and the adaptations to run on it: to aged sensors, or to groups that its training left out.
struct Study {
    name: String,
    /// Configuration of the training.
    config: String,
    /// Seeds of the streams for each group that training left out; `None` if a sensor ages instead.
    streams: Option<&'static str>,
}

/// A row of the table.
#[derive(Default)]
struct Row {
    adaptations: u64,
    samples: u64,
    updates: u64,
    differing: u64,
    /// Accuracies before and after, one pair per aged sensor or group.
    accuracies: Vec<(f64, f64)>,
}

/// Trains, grafts, adapts on the board and computes every adaptation again. The results lie in `target/evidence`.
pub fn run(options: &Options) -> Result<()> {
    setup::run()?;
    graftage::build()?;
    let started = Instant::now();
    let data = options.data.as_deref();
    let kinds = [(PEOPLE.whom, people(data)?), (SPEAKERS.whom, speakers(data)?), ("aged sensors", sensors()?)];
    let mut rows = Vec::new();
    for (kind, studies) in kinds.into_iter().filter(|(_, studies)| !studies.is_empty()) {
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

fn sensors() -> Result<Vec<Study>> {
    let digits = include_str!("../../examples/digits.toml");
    let config = with_files(digits, &project::fetched("data"), &["digits.csv.gz"])?;
    Ok(vec![Study { name: "digits".into(), config, streams: None }])
}

fn speakers(data: Option<&Path>) -> Result<Vec<Study>> {
    let config = include_str!("../../examples/speakers.toml");
    let Some(config) = SPEAKERS.configured(config, data)? else { return Ok(Vec::new()) };
    let of = |name: &&str| Study {
        name: format!("speaker-{name}"),
        config: config.replace("[\"jackson\"]", &format!("[{name:?}]")),
        streams: Some("1..2"),
    };
    Ok(["george", "jackson", "nicolas", "yweweler"].iter().map(of).collect())
}

fn people(data: Option<&Path>) -> Result<Vec<Study>> {
    let config = include_str!("../../examples/people.toml");
    let Some(config) = PEOPLE.configured(config, data)? else { return Ok(Vec::new()) };
    let nine = |first: usize| (first..=36).step_by(4).map(|person| person.to_string()).collect::<Vec<_>>();
    let fourth = format!("{:?}", nine(4));
    ensure!(config.contains(&fourth), "people.toml does not leave out {fourth}");
    let of = |first: usize| Study {
        name: format!("people-{}", first % 4),
        config: config.replace(&fourth, &format!("{:?}", nine(first))),
        streams: Some("1..3"),
    };
    Ok((1..=4).map(of).collect())
}

/// Returns a configuration with the absolute paths of its files in this folder.
fn with_files(config: &str, folder: &Path, files: &[&str]) -> Result<String> {
    let mut config = config.to_owned();
    for file in files {
        let path = folder.join(file);
        let found = path.canonicalize().with_context(|| path.display().to_string())?;
        let (name, found) = (format!("{file:?}"), format!("{found:?}"));
        ensure!(config.contains(&name), "the configuration does not name the file {name}");
        config = config.replace(&name, &found);
    }
    Ok(config)
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
                // This fails if the replay differs.
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

    /// Writes the streams. Returns their names, grouped by aged sensor or group.
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

/// File of numbers that a command wrote.
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

/// Returns the number of places in which a replay, by core and by libtorch, differs from the board.
fn differing(replay: &Numbers) -> Result<u64> {
    let targets = replay.value["targets"].as_array().filter(|targets| targets.len() == 3);
    let targets = targets.with_context(|| format!("{}: there are not three targets", replay.path.display()))?;
    targets.iter().map(|target| target["differing"].as_u64().context("no count of what differs")).sum()
}

/// Formats mean ± sample standard deviation.
fn spread(numbers: &[f64]) -> String {
    let count = numbers.len() as f64;
    let mean = numbers.iter().sum::<f64>() / count;
    let deviation = (numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (count - 1.0)).sqrt();
    format!("{mean:.3} ± {deviation:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_no_data_is_told_where_they_are_published() {
        let page = include_str!("../../../docs/evidence.md");
        for (set, config) in [
            (SPEAKERS, include_str!("../../examples/speakers.toml")),
            (PEOPLE, include_str!("../../examples/people.toml")),
        ] {
            let line = set.lack("--data FOLDER is missing");
            let address = line.split(' ').find(|word| word.starts_with("https://")).unwrap();
            let address = address.trim_end_matches([',', ';']);
            assert!(page.contains(address), "{address} is not in docs/evidence.md");
            assert!(!line.contains('\n') && line.contains(set.folder), "{line}");
            assert!(set.files.iter().all(|file| line.contains(file) && page.contains(file)), "{line}");
            // Without a folder, or with one that lacks the files, the set is left out. Nothing fails.
            let empty = project::root().join("docs");
            assert_eq!(set.configured(config, None).unwrap(), None);
            assert_eq!(set.configured(config, Some(&empty)).unwrap(), None);
        }
    }

    #[test]
    fn a_configuration_names_its_files_where_they_lie() {
        let folder = project::root().join("docs");
        let config = with_files("path = \"link.md\"", &folder, &["link.md"]).unwrap();
        assert_eq!(config, format!("path = {:?}", folder.join("link.md").canonicalize().unwrap()));
        assert!(with_files("path = \"other\"", &folder, &["link.md"]).is_err());
        assert!(with_files("path = \"none.md\"", &folder, &["none.md"]).unwrap_err().to_string().contains("none.md"));
    }
}
