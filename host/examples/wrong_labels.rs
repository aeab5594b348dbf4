//! Cost of wrong labels for the rule that adapts: aged sensors, and speakers and people whom training left out,
//! at several shares of wrong labels.
//! `cargo run --release --package graftage --example wrong_labels -- [choose] [FOLDER]`
//!
//! FOLDER, by default `target/evidence`, holds the networks of `cargo xtask evidence`: `digits`, `speaker-*` and
//! `people-*`, each with `training/model.safetensors`. A set without a network is left out, and a line says so. Each
//! rule has one setting for all sets and shares. With `choose`, neighbouring step sizes are tried on other aged sensors
//! and streams than those reported.
//!
//! The tables are Markdown. The first row is the final accuracy of [`Recipe::FREE`]. The other rows say how far each
//! rule ends above it: mean and standard error of the differences task by task. A task is an aged sensor, or a speaker
//! or person with the mean over the streams.

use graftage::checkpoint::{Checkpoint, Trained};
use graftage::network::MovedBy;
use graftage::parallel;
use graftage::rehearse::{Adam, Sgd, Task, control};
use graftage::workstation::trained;
use graftage_core::adapt::Recipe;
use graftage_core::scion::{Pull, Rule};
use graftage_core::transport::Transport;
use std::error::Error;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// Shares of wrong labels.
const SHARES: [f32; 4] = [0.0, 0.1, 0.2, 0.4];
/// Samples per aged sensor.
const SAMPLES: usize = 200;
/// Labelled samples per class of a speaker or person.
const PER_CLASS: usize = 5;
/// Fall in accuracy beyond which a person counts as worse off.
const WORSE: f32 = 0.02;
/// Factors of the step sizes that are tried, relative to the chosen one.
const FACTORS: [f32; 5] = [0.25, 0.5, 1.0, 2.0, 4.0];

/// Seeds of the tasks.
struct Seeds {
    sensors: RangeInclusive<u64>,
    streams: RangeInclusive<u64>,
}

const CHOOSING: Seeds = Seeds { sensors: 11..=15, streams: 11..=13 };
const REPORTED: Seeds = Seeds { sensors: 1..=10, streams: 1..=3 };

/// Method that moves the weights.
#[derive(Clone, Copy)]
enum By {
    Rule,
    Sgd,
    Adam,
}

/// Rule with its setting.
#[derive(Clone, Copy)]
struct Arm {
    name: &'static str,
    by: By,
    recipe: Recipe,
}

const FREE: Recipe = Recipe::FREE;
const DEFAULT: Recipe = Recipe::DEFAULT;

/// Rules to compare. The others are compared with the first one, and have the step size that is best by [`CHOOSING`].
const ARMS: [Arm; 9] = [
    Arm { name: "free", by: By::Rule, recipe: FREE },
    Arm { name: "the default", by: By::Rule, recipe: DEFAULT },
    Arm {
        name: "the default, θ = 0",
        by: By::Rule,
        recipe: Recipe {
            rule: Rule { step_size: 0.007_5, transport: Transport::Fixed { theta: 0.0 }, ..DEFAULT.rule },
            ..DEFAULT
        },
    },
    Arm {
        name: "cap alone",
        by: By::Rule,
        recipe: Recipe { rule: Rule { step_size: 0.003_75, ..FREE.rule }, cap: DEFAULT.cap, ..FREE },
    },
    Arm { name: "pull alone", by: By::Rule, recipe: Recipe { cap: None, ..DEFAULT } },
    Arm { name: "Adam", by: By::Adam, recipe: moved(FREE, 0.000_7, Pull::None) },
    Arm { name: "Adam, cap", by: By::Adam, recipe: moved(DEFAULT, 0.000_7, Pull::None) },
    Arm { name: "Adam, cap, pull", by: By::Adam, recipe: moved(DEFAULT, 0.001_4, Pull::Start { strength: 5.0 }) },
    Arm { name: "SGD", by: By::Sgd, recipe: moved(FREE, 0.000_195_312_5, Pull::None) },
];

/// Returns a recipe for another method, with its step size and pull.
const fn moved(recipe: Recipe, step: f32, pull: Pull) -> Recipe {
    let recipe = control(recipe);
    Recipe { rule: Rule { step_size: step, pull, ..recipe.rule }, ..recipe }
}

impl Arm {
    fn with_step(self, factor: f32) -> Self {
        let rule = self.recipe.rule;
        Self { recipe: Recipe { rule: Rule { step_size: factor * rule.step_size, ..rule }, ..self.recipe }, ..self }
    }

    /// Returns the final accuracy.
    fn adapt(&self, task: &Task) -> graftage::error::Result<f32> {
        let mut network = trained(task.checkpoint)?;
        let (recipe, probe) = (self.recipe, usize::MAX);
        let curve = match self.by {
            By::Rule => task.learn(network, recipe, probe),
            By::Sgd => {
                let sgd = Sgd::new(&mut network);
                task.learn(MovedBy::new(network, sgd), recipe, probe)
            }
            By::Adam => {
                let adam = Adam::new(&mut network);
                task.learn(MovedBy::new(network, adam), recipe, probe)
            }
        };
        Ok(curve?.last().copied().unwrap_or(f32::NAN))
    }
}

/// Tasks of one kind. Those of one sensor, speaker or person are adjacent.
struct Set<'a> {
    name: &'static str,
    streams: usize,
    tasks: Vec<Task<'a>>,
}

impl Set<'_> {
    /// Returns the mean over the streams, for each sensor, speaker or person.
    fn together(&self, accuracies: &[f32]) -> Vec<f32> {
        accuracies.chunks(self.streams).map(mean).collect()
    }

    /// Returns the final accuracies of all arms at all shares.
    fn run(&self, arms: &[Arm]) -> Result<Vec<[Vec<f32>; SHARES.len()]>, Box<dyn Error>> {
        let tasks = SHARES.map(|share| {
            let mislabelled = self.tasks.iter().map(|task| task.clone().mislabelled(share));
            mislabelled.collect::<Vec<_>>()
        });
        let runs: Vec<_> = arms.iter().flat_map(|arm| tasks.iter().flatten().map(move |task| (arm, task))).collect();
        let ends = parallel::map(parallel::processors(), &runs, |(arm, task)| arm.adapt(task))?;
        let by_arm = ends.chunks(SHARES.len() * self.tasks.len()).map(|ends| {
            let mut shares = ends.chunks(self.tasks.len());
            SHARES.map(|_| self.together(shares.next().unwrap_or_default()))
        });
        Ok(by_arm.collect())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let choose = arguments.first().is_some_and(|first| first == "choose");
    let folder = arguments.split_off(usize::from(choose)).pop().map_or("target/evidence".into(), PathBuf::from);
    let seeds = if choose { CHOOSING } else { REPORTED };
    let digits = networks(&folder, "digits", |path| Trained::read(path, None))?;
    let [speakers, people] = ["speaker-", "people-"].map(|kind| networks(&folder, kind, Checkpoint::read));
    let (speakers, people) = (speakers?, people?);
    let sets = [sensors(&digits, &seeds), groups("speakers", &speakers, &seeds)?, groups("people", &people, &seeds)?];
    let sets: Vec<_> = sets.into_iter().filter(|set| !set.tasks.is_empty()).collect();
    if choose { choosing(&sets) } else { reporting(&sets) }
}

/// Reads the networks in the folders whose names begin with `kind`.
fn networks<N>(
    folder: &Path,
    kind: &str,
    read: impl Fn(&Path) -> graftage::error::Result<N>,
) -> Result<Vec<N>, Box<dyn Error>> {
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(kind)));
    paths.sort();
    if paths.is_empty() {
        println!(
            "without {kind}*, of which there is none in {}: `cargo xtask evidence` trains them\n",
            folder.display()
        );
    }
    Ok(paths.iter().map(|path| read(&path.join("training/model.safetensors"))).collect::<Result<_, _>>()?)
}

fn sensors<'a>(networks: &'a [Trained], seeds: &Seeds) -> Set<'a> {
    let tasks = |trained| seeds.sensors.clone().map(move |seed| Task::aged(trained, SAMPLES, seed));
    Set { name: "aged sensors", streams: 1, tasks: networks.iter().flat_map(tasks).collect() }
}

fn groups<'a>(name: &'static str, checkpoints: &'a [Checkpoint], seeds: &Seeds) -> Result<Set<'a>, Box<dyn Error>> {
    let mut tasks = Vec::new();
    for checkpoint in checkpoints {
        for (_, samples) in checkpoint.about.unseen(None)? {
            tasks.extend(seeds.streams.clone().map(|seed| {
                let (stream, test) = samples.introduce(PER_CLASS, seed);
                Task::new(checkpoint, stream, test, seed)
            }));
        }
    }
    Ok(Set { name, streams: seeds.streams.clone().count(), tasks })
}

/// Prints the mean accuracy over all sets and shares, for every arm with several step sizes.
fn choosing(sets: &[Set]) -> Result<(), Box<dyn Error>> {
    let arms: Vec<_> = ARMS.iter().flat_map(|arm| FACTORS.map(|factor| arm.with_step(factor))).collect();
    let ends = sets.iter().map(|set| set.run(&arms)).collect::<Result<Vec<_>, _>>()?;
    println!("| | step size: mean accuracy of {} sets at {SHARES:?} wrong labels |\n|---|---|", sets.len());
    let mut means = (0..arms.len()).map(|arm| {
        let shares: Vec<f32> = ends.iter().flat_map(|set| set[arm].each_ref().map(|ends| mean(ends))).collect();
        format!("{}: {:.4}", arms[arm].recipe.rule.step_size, mean(&shares))
    });
    for arm in &ARMS {
        let row: Vec<_> = means.by_ref().take(FACTORS.len()).collect();
        println!("| {} | {} |", arm.name, row.join(", "));
    }
    Ok(())
}

/// Prints the accuracies of every arm beside the first.
fn reporting(sets: &[Set]) -> Result<(), Box<dyn Error>> {
    let ends = sets.iter().map(|set| set.run(&ARMS)).collect::<Result<Vec<_>, _>>()?;
    for (set, ends) in sets.iter().zip(&ends) {
        let count = set.tasks.len() / set.streams;
        table(&format!("{count} {}", set.name), |arm, share| {
            let (free, own) = (&ends[0][share], &ends[arm][share]);
            if arm == 0 { (mean(free), None) } else { difference(free, own) }
        });
    }
    table(&format!("mean of {}", sets.len()), |arm, share| {
        let each: Vec<_> = ends.iter().map(|ends| difference(&ends[0][share], &ends[arm][share])).collect();
        let count = each.len() as f32;
        if arm == 0 {
            return (ends.iter().map(|ends| mean(&ends[0][share])).sum::<f32>() / count, None);
        }
        let error = each.iter().filter_map(|(_, error)| *error).map(|error| error * error).sum::<f32>().sqrt() / count;
        (each.iter().map(|(difference, _)| difference).sum::<f32>() / count, Some(error))
    });
    for (set, ends) in sets.iter().zip(&ends).filter(|(set, _)| set.name == "people") {
        let before = set.tasks.iter().map(Task::before).collect::<Result<Vec<_>, _>>()?.concat();
        let before = set.together(&before);
        heading(&format!("of {} people, end more than {WORSE} below where they began", before.len()));
        for (arm, ends) in ARMS.iter().zip(ends) {
            let worse =
                |ends: &Vec<f32>| ends.iter().zip(&before).filter(|(end, before)| **end < **before - WORSE).count();
            println!("| {} | {} |", arm.name, ends.each_ref().map(|ends| worse(ends).to_string()).join(" | "));
        }
        println!();
    }
    Ok(())
}

fn heading(what: &str) {
    let shares = SHARES.map(|share| format!("{} % wrong", 100.0 * share));
    println!("| {what} | {} |\n|---|{}", shares.join(" | "), "---|".repeat(SHARES.len()));
}

/// Prints a row for each arm. `cell` gives its entry at each share; both are indices.
fn table(what: &str, cell: impl Fn(usize, usize) -> (f32, Option<f32>)) {
    heading(what);
    for (arm, Arm { name, .. }) in ARMS.iter().enumerate() {
        let cells: Vec<_> = (0..SHARES.len())
            .map(|share| match cell(arm, share) {
                (accuracy, None) => format!("{accuracy:.3}"),
                (difference, Some(error)) => format!("{difference:+.3} ± {error:.3}"),
            })
            .collect();
        println!("| {name} | {} |", cells.join(" | "));
    }
    println!();
}

/// Returns mean and standard error of the differences from `others`.
fn difference(others: &[f32], own: &[f32]) -> (f32, Option<f32>) {
    let differences: Vec<f32> = own.iter().zip(others).map(|(own, other)| own - other).collect();
    let (mean, count) = (mean(&differences), differences.len() as f32);
    let squares: f32 = differences.iter().map(|difference| (difference - mean) * (difference - mean)).sum();
    (mean, Some((squares / (count - 1.0).max(1.0) / count).sqrt()))
}

fn mean(numbers: &[f32]) -> f32 {
    numbers.iter().sum::<f32>() / numbers.len() as f32
}
