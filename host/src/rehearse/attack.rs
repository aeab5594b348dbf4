//! Sessions whose labels are all wrong, and a world that changes between two sessions: the ones are to be rolled back, the others
//! followed.

use super::task::{accuracy, clipped, take};
use crate::adaptation::{Sessions, start_sessions, trained};
use crate::checkpoint::Checkpoint;
use crate::data::{AgedSensor, Samples};
use crate::error::{Error, Result};
use crate::network::Layers;
use crate::parallel;
use crate::statistics::Spread;
use graftage_core::adapt::Recipe;
use graftage_core::session::Verdict;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A rehearsal of attacks, on drifts.
#[derive(Debug)]
pub struct Attack<'a> {
    /// The trained network.
    pub checkpoint: &'a Checkpoint,
    /// Samples of which sessions are made, as they are.
    pub train: &'a Samples,
    /// Samples that measure accuracy, as they are.
    pub test: &'a Samples,
    /// Samples of a session.
    pub samples: usize,
    /// How the board adapts; it holds samples out.
    pub recipe: Recipe,
    /// Drift seeds.
    pub seeds: Vec<u64>,
}

/// What `graftage rehearse --attack` measured.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct AttackRehearsal {
    /// Samples of a session.
    pub samples: usize,
    /// Drift seeds.
    pub seeds: Vec<u64>,
    /// A session of right labels, one of wrong labels alone and another of right ones, for each seed.
    pub attacked: Vec<Attacked>,
    /// Accuracy after the attack.
    pub after: Spread,
    /// (Right labels after an attack that was rolled back, accuracy of the weights that learn).
    pub recovery: Vec<(usize, Spread)>,
    /// What else may happen between two sessions of right labels.
    pub changes: Vec<Change>,
}

/// How an attack went.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Attacked {
    /// The verdict on the session before it.
    pub before: Verdict,
    /// On the attack.
    pub attack: Verdict,
    /// On the session after it.
    pub after: Verdict,
    /// Accuracy after the attack.
    pub accuracy: f32,
    /// Accuracy of the weights that learn after every [`Attack::PROBE`] of the next [`Attack::SOON`] right labels.
    pub recovery: Vec<f32>,
}

/// Another world from the second session on.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Change {
    /// In words.
    pub name: String,
    /// For each seed the session, counted from 1, that was committed first; `None` where none of [`Attack::PATIENCE`] was.
    pub committed: Vec<Option<u32>>,
}

/// Where a pixel (row, column) of a square image of such a side shows what stood, if anywhere.
type Place = fn(usize, usize, usize) -> Option<(usize, usize)>;

/// Ways to mount the sensor of an image anew.
const MOUNTS: [(&str, Place); 2] = [
    ("shifted by a pixel", |_, row, column| Some((row, column.checked_sub(1)?))),
    ("mirrored", |side, row, column| Some((row, side - 1 - column))),
];

/// What distinguishes the seed of another drift.
const ANOTHER: u64 = 1000;

/// The board's sessions.
type Board<'i> = Sessions<'i, Layers>;

impl Attack<'_> {
    /// Right labels after an attack within which its harm should be undone.
    pub const SOON: usize = 40;
    /// How often accuracy is measured in them.
    pub const PROBE: usize = 10;
    /// Sessions in which a change of the world is to be followed.
    pub const PATIENCE: u32 = 3;

    /// Runs all seeds, on all processors; `progress` is told (runs done, runs in all). Samples that are no square images are
    /// not mounted otherwise.
    ///
    /// # Errors
    /// Where nothing is held out, a session is shorter than [`Attack::SOON`], or the checkpoint, the recipe or a sample is
    /// refused.
    pub fn run(&self, progress: &(dyn Fn(usize, usize) + Sync)) -> Result<AttackRehearsal> {
        if self.recipe.hold_out.is_none() {
            let what = "an attack is told by samples that are held out: --hold-out EVERY,KEEP, such as 5,20";
            return Err(Error::Usage(what.into()));
        }
        if self.samples < Self::SOON {
            let what = format!("sessions of {} samples: an attack asks for {} or more", self.samples, Self::SOON);
            return Err(Error::Usage(what));
        }
        let inputs = self.train.inputs();
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
            Ok(Change { name: mount.map_or("another drift", |(name, _)| name).into(), committed: committed? })
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

    /// Right labels, wrong ones, right ones: a session each.
    fn attack(&self, seed: u64) -> Result<Attacked> {
        let sensor = AgedSensor::draw(self.train.inputs(), seed);
        let seen = |samples: &Samples| clipped(self.checkpoint, samples.aged(&sensor));
        let (right, test) = (seen(&self.train.arrive(3 * self.samples, seed)), seen(self.test));
        let mut wrong = right.clone();
        wrong.mislabel(1.0, self.checkpoint.shape().1, seed);
        let start = self.checkpoint.words();
        let mut board = start_sessions(trained(self.checkpoint)?, self.recipe, &start)?;
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

    /// The session of right labels, counted from the first in a changed world, that is committed first: after one as the board
    /// was told, in another drift or with its sensor mounted otherwise.
    fn change(&self, seed: u64, mount: Option<Place>) -> Result<Option<u32>> {
        let inputs = self.train.inputs();
        let stream = self.train.arrive((1 + Self::PATIENCE as usize) * self.samples, seed);
        let drift = if mount.is_none() { seed.wrapping_add(ANOTHER) } else { seed };
        let side = inputs.isqrt();
        let moved = mount.map(|place| stream.mounted(side, |row, column| place(side, row, column)));
        let seen = |samples: &Samples, drift| clipped(self.checkpoint, samples.aged(&AgedSensor::draw(inputs, drift)));
        let (first, later) = (seen(&stream, seed), seen(moved.as_ref().unwrap_or(&stream), drift));
        let start = self.checkpoint.words();
        let mut board = start_sessions(trained(self.checkpoint)?, self.recipe, &start)?;
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
