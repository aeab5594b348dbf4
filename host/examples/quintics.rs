//! Comparison of the chains of quintics by their worth in training. This prints the table of `docs/norms.md`:
//! `cargo run --release --package graftage --example quintics -- .graftage/data/digits.csv.gz`
//!
//! A network of 64-32-10 learns 1400 of the digits with core's own layers and rule, in 300 steps of 32 samples. The
//! step size falls linearly to 0. Both weight matrices are measured in the spectral norm, so that only the quintics
//! differ. The step size is the best of a grid on seeds 11 to 13, by training loss; the table shows seeds 1 to 8.

use graftage::data::{Legend, Samples};
use graftage::error::Result;
use graftage::network::Layers;
use graftage::statistics::Spread;
use graftage_core::arithmetic::Functions;
use graftage_core::matrix::RowMajor;
use graftage_core::network::{Kind, Layer, Step, Target, initialise, predict, scratch_length};
use graftage_core::norm::{Norm, with_workspace};
use graftage_core::polar::Quintics;
use graftage_core::random::Stream;
use graftage_core::schedule::Schedule;
use graftage_core::scion::{Geometry, Role, Rule};
use std::path::Path;

const STEPS: u32 = 300;
const BATCH: u32 = 32;
const GRID: [f32; 5] = [0.005, 0.01, 0.02, 0.04, 0.08];

/// Result of one training.
struct Run {
    /// Mean training loss over the last 50 steps.
    loss: f32,
    accuracy: f32,
    /// ⟨M, U⟩ of the hidden layer divided by its dual norm, mean over the steps. 1 is steepest.
    share: f32,
}

fn main() -> Result<()> {
    let path = std::env::args().nth(1).unwrap_or_else(|| ".graftage/data/digits.csv.gz".into());
    let (train, test) = Samples::read(Path::new(&path), 64, &Legend::numbered(10))?.divided(16.0).split(1400, 1)?;
    println!("| quintics | step size | training loss | test accuracy | share of the dual norm |");
    println!("|---|---|---|---|---|");
    for quintics in Quintics::ALL {
        let loss = |step: f32| -> f32 { (11..=13).map(|seed| learn(&train, &test, quintics, step, seed).loss).sum() };
        let step = GRID.into_iter().min_by(|a, b| loss(*a).total_cmp(&loss(*b))).unwrap_or(GRID[0]);
        let runs: Vec<_> = (1..=8).map(|seed| learn(&train, &test, quintics, step, seed)).collect();
        let spread = |of: fn(&Run) -> f32| Spread::of(runs.iter().map(of).collect());
        let (loss, accuracy, share) = (spread(|r| r.loss), spread(|r| r.accuracy), spread(|r| r.share));
        println!(
            "| {quintics:?} | {step} | {:.4} ± {:.4} | {:.4} ± {:.4} | {:.3} |",
            loss.mean, loss.deviation, accuracy.mean, accuracy.deviation, share.mean
        );
    }
    Ok(())
}

fn learn(train: &Samples, test: &Samples, quintics: Quintics, step: f32, seed: u64) -> Run {
    let kinds =
        [Kind::Dense { inputs: 64, outputs: 32 }, Kind::Relu { width: 32 }, Kind::Dense { inputs: 32, outputs: 10 }];
    // The layers fit together.
    let Some(mut network) = Layers::new(&kinds) else { unreachable!() };
    let mut scratch = vec![0.0; scratch_length(&mut network)];
    initialise(&mut network, &mut Stream::Weights.generator(seed), &mut scratch);
    network.parameters(&mut |parameter| {
        if parameter.role == Role::Weights {
            *parameter.geometry = Geometry { norm: Norm::Spectral, radius: 3.0 };
        }
    });
    let rule = Rule { step_size: step, schedule: Schedule::Linear { steps: STEPS }, quintics, ..Rule::PLAIN };
    let mut draws = Stream::Batches.generator(seed);
    let samples: Vec<_> = train.iter().collect();
    let mut run = Run { loss: 0.0, accuracy: 0.0, share: 0.0 };
    for t in 1..=STEPS {
        let mut now = Step::begin(&rule, Functions::Libm, None, t.into(), BATCH);
        for _ in 0..BATCH {
            let (input, label) = samples[draws.below(samples.len() as u32) as usize];
            // Refused samples do not count in the loss.
            let _ = now.add(&mut network, input, Target::Class(label), &mut scratch);
        }
        run.share += share(&mut network, quintics, &mut scratch) / STEPS as f32;
        if let (Some(outcome), true) = (now.finish(&mut network, &rule, &[], &mut scratch), t > STEPS - 50) {
            run.loss += outcome.loss / 50.0;
        }
    }
    let right = test.iter().filter(|(input, label)| {
        predict(&network, Functions::Libm, input, &mut scratch).is_ok_and(|found| found.class == *label)
    });
    run.accuracy = right.count() as f32 / test.len() as f32;
    run
}

/// Returns ⟨M, U⟩/(‖M‖_*/f) of the first parameter.
fn share(network: &mut Layers, quintics: Quintics, scratch: &mut [f32]) -> f32 {
    let mut share = None;
    network.parameters(&mut |parameter| {
        let m = parameter.state.m;
        let dual = |quintics, scratch: &mut [f32]| {
            with_workspace(RowMajor::shape(&m), scratch, |work| {
                Norm::Spectral.direction(&m, quintics, work);
                work.direction.elements().iter().zip(m.elements()).map(|(u, m)| u * m).sum::<f32>()
            })
        };
        if share.is_none() {
            share = dual(quintics, scratch)
                .zip(dual(Quintics::Converged, scratch))
                .map(|(quintics, exact)| quintics / exact);
        }
    });
    share.unwrap_or(f32::NAN)
}
