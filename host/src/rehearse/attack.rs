//! Rehearsal of attacks and of change: sessions with only wrong labels should be rolled back, and a world that changes
//! between two sessions should be followed.

use super::some;
use super::task::{accuracy, clipped, take};
use crate::checkpoint::Trained;
use crate::data::{AgedSensor, Samples};
use crate::error::{Error, Result};
use crate::network::Layers;
use crate::parallel;
use crate::statistics::Spread;
use crate::workstation::{Sessions, start_sessions, trained};
use graftage_core::adapt::Recipe;
use graftage_core::session::Verdict;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Rehearsal of attacks, on aged sensors.
#[derive(Debug)]
pub struct Attack<'a> {
    /// Trained network and its unaged samples. Sessions are made of the training part; the test part measures accuracy.
    pub trained: &'a Trained,
    /// Samples per session.
    pub samples: usize,
    /// Recipe of the board, which must hold samples out.
    pub recipe: Recipe,
    /// Seeds of the ageing.
    pub seeds: Vec<u64>,
}

/// Results of `graftage rehearse --attack`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct AttackRehearsal {
    /// Samples per session.
    pub samples: usize,
    /// Seeds of the ageing.
    pub seeds: Vec<u64>,
    /// For each seed, a session with right labels, one with only wrong labels, and another one with right labels.
    pub attacked: Vec<Attacked>,
    /// Accuracy after the attack.
    pub after: Spread,
    /// (Number of right labels after an attack that was rolled back, accuracy of the weights that learn.)
    pub recovery: Vec<(usize, Spread)>,
    /// Other changes between two sessions with right labels.
    pub changes: Vec<Change>,
}

/// Course of an attack.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Attacked {
    /// Verdict on the session before the attack.
    pub before: Verdict,
    /// Verdict on the attack.
    pub attack: Verdict,
    /// Verdict on the session after the attack.
    pub after: Verdict,
    /// Accuracy after the attack.
    pub accuracy: f32,
    /// Accuracy of the weights that learn after every [`Attack::PROBE`] of the next [`Attack::SOON`] right labels.
    pub recovery: Vec<f32>,
}

/// A change of the world from the second session on.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Change {
    /// Description of the change.
    pub name: String,
    /// For each seed, the first session of the changed world that was committed, counted from 1; `None` if none of
    /// [`Attack::PATIENCE`] was.
    pub committed: Vec<Option<u32>>,
}

/// Map from a pixel (side, row, column) of a square image to the place (row, column) at which its content stood before;
/// `None` if there is none.
type Place = fn(usize, usize, usize) -> Option<(usize, usize)>;

/// Other ways to mount an image sensor.
const MOUNTS: [(&str, Place); 2] = [
    ("shifted by a pixel", |_, row, column| Some((row, column.checked_sub(1)?))),
    ("mirrored", |side, row, column| Some((row, side - 1 - column))),
];

/// Offset of the seed of another ageing.
const ANOTHER: u64 = 1000;

/// Sessions of the board.
type Board<'i> = Sessions<'i, Layers>;

impl Attack<'_> {
    /// Number of right labels after an attack within which its harm should be undone.
    pub const SOON: usize = 40;
    /// Interval of the accuracy measurements during these labels, in samples.
    pub const PROBE: usize = 10;
    /// Number of sessions within which a change of the world should be followed.
    pub const PATIENCE: u32 = 3;

    /// Runs all seeds on all processors. `progress` receives (runs done, runs in all). Changes of the mounting are left
    /// out if the samples are not square images.
    ///
    /// # Errors
    /// Returns an error if there are no seeds, if nothing is held out, if a session is shorter than [`Attack::SOON`],
    /// or if the checkpoint, the recipe or a sample is refused.
    pub fn run(&self, progress: &(dyn Fn(usize, usize) + Sync)) -> Result<AttackRehearsal> {
        some(&self.seeds)?;
        if self.recipe.hold_out.is_none() {
            let what = "an attack is detected by held-out samples: use --hold-out EVERY,KEEP, such as 5,20";
            return Err(Error::Usage(what.into()));
        }
        if self.samples < Self::SOON {
            let what =
                format!("sessions of {} samples are too short: an attack needs at least {}", self.samples, Self::SOON);
            return Err(Error::Usage(what));
        }
        let inputs = self.trained.train.inputs();
        let square = inputs.isqrt() * inputs.isqrt() == inputs;
        let worlds: Vec<_> = [None].into_iter().chain(MOUNTS.iter().filter(|_| square).map(Some)).collect();
        let (done, total) = (AtomicUsize::new(0), self.seeds.len() * (1 + worlds.len()));
        let tell = || progress(done.fetch_add(1, Ordering::Relaxed) + 1, total);
        let attacked = parallel::map(parallel::processors(), &self.seeds, |seed| {
            let attacked = self.attack(*seed);
            tell();
            attacked
        })?;
        let changes = worlds.into_iter().map(|mount| {
            let committed = parallel::map(parallel::processors(), &self.seeds, |seed| {
                let committed = self.change(*seed, mount.map(|(_, place)| *place));
                tell();
                committed
            });
            Ok(Change { name: mount.map_or("another ageing", |(name, _)| name).into(), committed: committed? })
        });
        let recovery = |probe: usize| {
            let rolled_back = attacked.iter().filter(|attacked| !attacked.attack.committed);
            let accuracies = rolled_back.filter_map(|attacked| attacked.recovery.get(probe).copied());
            ((probe + 1) * Self::PROBE, Spread::of(accuracies.collect()))
        };
        Ok(AttackRehearsal {
            samples: self.samples,
            seeds: self.seeds.clone(),
            after: Spread::of(attacked.iter().map(|attacked| attacked.accuracy).collect()),
            recovery: (0..Self::SOON / Self::PROBE).map(recovery).collect(),
            changes: changes.collect::<Result<_>>()?,
            attacked,
        })
    }

    /// Runs three sessions: right labels, wrong labels, right labels.
    fn attack(&self, seed: u64) -> Result<Attacked> {
        let Trained { checkpoint, train, test } = self.trained;
        let sensor = AgedSensor::draw(train.inputs(), seed);
        let seen = |samples: &Samples| clipped(checkpoint, samples.aged(&sensor));
        let (right, test) = (seen(&train.arrive(3 * self.samples, seed)), seen(test));
        let mut wrong = right.clone();
        wrong.mislabel(1.0, checkpoint.numbers().outputs, seed);
        let start = checkpoint.words();
        let mut board = start_sessions(trained(checkpoint)?, self.recipe, &start)?;
        let (mut right, mut wrong) = (right.iter(), wrong.iter().skip(self.samples));
        learn(&mut board, right.by_ref().take(self.samples))?;
        let before = board.end();
        learn(&mut board, wrong.by_ref().take(self.samples))?;
        let attack = board.end();
        let after_attack = accuracy(board.network_mut(), &test)?;
        let (mut right, mut recovery) = (right.skip(self.samples), Vec::new());
        for _ in 0..Self::SOON / Self::PROBE {
            learn(&mut board, right.by_ref().take(Self::PROBE))?;
            recovery.push(accuracy(board.network_mut(), &test)?);
        }
        learn(&mut board, right)?;
        Ok(Attacked { before, attack, after: board.end(), accuracy: after_attack, recovery })
    }

    /// Returns the first committed session in a changed world, counted from 1. It comes after one session in the
    /// original world. The change is another ageing, or a sensor that is mounted differently.
    fn change(&self, seed: u64, mount: Option<Place>) -> Result<Option<u32>> {
        let Trained { checkpoint, train, .. } = self.trained;
        let inputs = train.inputs();
        let stream = train.arrive((1 + Self::PATIENCE as usize) * self.samples, seed);
        let ageing = if mount.is_none() { seed.wrapping_add(ANOTHER) } else { seed };
        let side = inputs.isqrt();
        let moved = mount.map(|place| stream.mounted(side, |row, column| place(side, row, column)));
        let seen = |samples: &Samples, ageing| clipped(checkpoint, samples.aged(&AgedSensor::draw(inputs, ageing)));
        let (first, later) = (seen(&stream, seed), seen(moved.as_ref().unwrap_or(&stream), ageing));
        let start = checkpoint.words();
        let mut board = start_sessions(trained(checkpoint)?, self.recipe, &start)?;
        learn(&mut board, first.iter().take(self.samples))?;
        board.end();
        let mut later = later.iter().skip(self.samples);
        for session in 1..=Self::PATIENCE {
            learn(&mut board, later.by_ref().take(self.samples))?;
            if board.end().committed {
                return Ok(Some(session));
            }
        }
        Ok(None)
    }
}

/// Learns these samples.
fn learn<'s>(board: &mut Board, mut samples: impl Iterator<Item = (&'s [f32], u32)>) -> Result<()> {
    samples.try_for_each(|sample| take(board, sample))
}
