//! Limits of a pull to the start: a sensor that is mounted in another way sees the digits, and they are learnt without
//! a pull and in balls of one and of two radii around the trained weights.
//! `cargo run --release --package graftage --example reach -- [CHECKPOINT]`
//!
//! The checkpoint is one of square images between 0 and 1, by default
//! `target/evidence/digits/training/model.safetensors`. The table is Markdown: accuracy on test samples seen in the
//! same way, mean and deviation over the streams.

use graftage::checkpoint::Checkpoint;
use graftage::data::Samples;
use graftage::parallel;
use graftage::rehearse::Task;
use graftage::statistics::Spread;
use graftage::workstation::trained;
use graftage_core::adapt::Recipe;
use graftage_core::scion::{Pull, Rule};
use std::error::Error;
use std::path::Path;

/// Labelled samples per stream.
const SAMPLES: usize = 200;
/// Seeds of the streams.
const STREAMS: [u64; 3] = [1, 2, 3];

const DEFAULT: Recipe = Recipe::DEFAULT;

const RECIPES: [(&str, Recipe); 3] = [
    ("free", Recipe::FREE),
    ("the default, r = 1", DEFAULT),
    ("r = 2", Recipe { rule: Rule { pull: Pull::Start { strength: 0.5 }, ..DEFAULT.rule }, ..DEFAULT }),
];

/// View that a sensor has of images with this side length, in pixels.
type Seen = fn(&Samples, usize) -> Samples;

const CHANGES: [(&str, Seen); 4] = [
    ("shifted by a pixel", |images, side| images.mounted(side, |row, column| Some((row, column.checked_sub(1)?)))),
    ("mirrored", |images, side| images.mounted(side, |row, column| Some((row, side - 1 - column)))),
    ("turned by a quarter", |images, side| images.mounted(side, |row, column| Some((side - 1 - column, row)))),
    ("inverted", |images, _| inverted(images)),
];

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).unwrap_or("target/evidence/digits/training/model.safetensors".into());
    let checkpoint = Checkpoint::read(Path::new(&path))?;
    let data = checkpoint.about.samples(None)?;
    let side = data.train.inputs().isqrt();
    if side * side != data.train.inputs() {
        return Err(format!("{path}: samples of {} features are no square images", data.train.inputs()).into());
    }
    println!("| | before | {} |\n|---|---|{}", RECIPES.map(|(name, _)| name).join(" | "), "---|".repeat(RECIPES.len()));
    for (name, seen) in CHANGES {
        let (train, test) = (seen(&data.train, side), seen(&data.test, side));
        let tasks = STREAMS.map(|seed| Task::new(&checkpoint, train.arrive(SAMPLES, seed), test.clone(), seed));
        let runs: Vec<_> =
            RECIPES.iter().flat_map(|(_, recipe)| tasks.iter().map(move |task| (*recipe, task))).collect();
        let ends = parallel::map(parallel::processors(), &runs, |(recipe, task)| {
            let curve = task.learn(trained(task.checkpoint)?, *recipe, usize::MAX)?;
            Ok::<_, graftage::error::Error>(curve.last().copied().unwrap_or(f32::NAN))
        })?;
        let spreads = ends.chunks(STREAMS.len()).map(|ends| Spread::of(ends.to_vec()));
        let cells: Vec<_> = spreads.map(|spread| format!("{:.3} ± {:.3}", spread.mean, spread.deviation)).collect();
        println!("| {name} | {:.3} | {} |", tasks[0].before()?[0], cells.join(" | "));
    }
    Ok(())
}

fn inverted(images: &Samples) -> Samples {
    let mut inverted = Samples::new(images.inputs());
    for (image, label) in images.iter() {
        inverted.push(&image.iter().map(|pixel| 1.0 - pixel).collect::<Vec<_>>(), label);
    }
    inverted
}
