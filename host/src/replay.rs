//! Recomputation of a record: by core on this machine, and by core's rule on libtorch tensors in exact order.
//!
//! The digest of the whole state reveals after which step the board and this machine differ. The other contents of the
//! record narrow down the cause:
//!
//! | first difference | cause on the board |
//! |---|---|
//! | prediction before learning | other input numbers, or another forward pass |
//! | loss at the query point, and the state | another label, or another gradient pass |
//! | state alone | another update |
//! | record of a step, but no later state | the same state: the record was altered |
//! | X, Y or M, if recorded | another number at that place |

use crate::error::Result;
use crate::network::Layers;
use crate::record::{Event, Lesson, Record, State};
use crate::workstation::{Sessions, network, start_sessions};
use graftage_core::adapt::Report;
use graftage_core::error::Refusal;
use graftage_core::image::Image;
use graftage_core::matrix::RowMajor;
use graftage_core::network::{Layer, Parameter, Prediction};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Results of `graftage replay`, one row per target.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Verification {
    /// Machines and implementations; the recorded one comes first.
    pub targets: Vec<Target>,
}

/// Result of one target of a verification.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Target {
    /// Name, e.g. `x86_64`, `mps2-an386`, `libtorch-exact`.
    pub target: String,
    /// Number of updates that it computed.
    pub steps: u64,
    /// Number of differences from the record: updates that ended in another state, and any other recorded values.
    pub differing: u64,
    /// Description of the first difference and its place.
    pub first_difference: Option<String>,
    /// Descriptions of the arrays that differ, if the board was asked for them.
    #[serde(default)]
    pub arrays: Vec<String>,
    /// Digest after the last update, in hexadecimal.
    pub digest: String,
}

/// Result of recomputing a record.
#[derive(Debug)]
pub struct Replayed<'i, N> {
    /// Differences from the record.
    pub target: Target,
    /// Sessions as they are at the end of the record.
    pub sessions: Sessions<'i, N>,
}

/// Recomputes the adaptation of a record with core on this machine.
///
/// # Errors
/// If the layers of the image do not fit together.
pub fn with_core<'i>(record: &Record, image: &Image<'i>) -> Result<Replayed<'i, Layers>> {
    with(record, image, std::env::consts::ARCH, |network| network)
}

/// Results of the recorded board itself.
pub fn recorded(record: &Record) -> Target {
    Target {
        target: record.board.clone(),
        steps: record.lessons().map(|lesson| lesson.reports.len() as u64).sum(),
        differing: 0,
        first_difference: None,
        arrays: Vec::new(),
        digest: format!("{:016x}", record.digest()),
    }
}

/// Kind and location of a difference between a record and its recomputation.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Difference {
    /// The state before the first sample.
    Start,
    /// Steps of a sample (from 1) out of order: the first step should be `due`, but `found` is recorded.
    Order { sample: u64, due: u64, found: u64 },
    /// The prediction for a sample before learning.
    Prediction { sample: u64 },
    /// A sample that was held out on one side and learnt on the other.
    HeldOut { sample: u64 },
    /// A sample that is recorded as taken, but refused.
    Untaken { sample: u64, why: Refusal },
    /// A sample that is recorded as refused, but is taken or refused for another reason (`why`).
    Refusal { refused: u64, why: Option<Refusal> },
    /// More steps for a sample than recorded.
    More { sample: u64 },
    /// A recorded step that is not taken.
    Missing { step: u64 },
    /// The number of samples that contribute to a step.
    Admitted { step: u64 },
    /// The loss of a step, while the state after it agrees.
    Loss { step: u64 },
    /// The loss of a step and the state after it.
    Gradient { step: u64, sample: u64 },
    /// The state after a step, while the loss agrees.
    Update { step: u64 },
    /// The record of a step only; a later state agrees.
    Recorded { step: u64 },
    /// A number of an array that was read from the board.
    Array(Place),
    /// Sizes of the recorded arrays.
    Size,
    /// The verdict of a session.
    Verdict { session: u64 },
    /// The state after the end of a session.
    Ended { session: u64 },
    /// An event after a gap, which follows this many samples.
    Later { sample: u64 },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Difference::Start => f.write_str("before the first step: X, Y or M"),
            Difference::Later { sample } => {
                write!(f, "an event after the gap that follows sample {sample}: a record must end with its gap")
            }
            Difference::Order { sample, due, found } => {
                write!(f, "sample {sample}: its steps begin with {found}, expected {due}: out of order")
            }
            Difference::Prediction { sample } => {
                write!(f, "sample {sample}: its numbers, or the prediction from them")
            }
            Difference::HeldOut { sample } => write!(f, "sample {sample}: held out or not"),
            Difference::Untaken { sample, why } => write!(f, "sample {sample}: no board accepts it: {why}"),
            Difference::Refusal { refused, why: Some(why) } => {
                write!(f, "refused sample {refused}: the reason is: {why}")
            }
            Difference::Refusal { refused, why: None } => write!(f, "refused sample {refused}: a board accepts it"),
            Difference::More { sample } => write!(f, "sample {sample}: more steps than recorded"),
            Difference::Missing { step } => write!(f, "step {step}: recorded, but not taken"),
            Difference::Admitted { step } => write!(f, "step {step}: the number of its samples"),
            Difference::Loss { step } => write!(f, "step {step}: only the loss, the state agrees"),
            Difference::Gradient { step, sample } => {
                write!(f, "step {step}: loss and state: label or a last bit of sample {sample}, or the gradient pass")
            }
            Difference::Update { step } => write!(f, "step {step}: X, Y or M, though the loss agrees: the update"),
            Difference::Recorded { step } => write!(f, "step {step}: only its record, a later state agrees"),
            Difference::Array(place) => place.fmt(f),
            Difference::Size => f.write_str("the arrays of the record do not belong to this network"),
            Difference::Verdict { session } => write!(f, "session {session}: verdict"),
            Difference::Ended { session } => write!(f, "session {session}: X, Y or M at its end"),
        }
    }
}

/// First number of an array that differs.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Place {
    array: &'static str,
    /// Number of the parameter, from 1, in the network's order.
    parameter: usize,
    shape: (usize, usize),
    /// Row, from 1. The column counts from 1 as well.
    row: usize,
    column: usize,
    /// Number of elements that differ.
    count: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { array, parameter, shape: (m, n), row, column, count } = self;
        let all = m * n;
        write!(f, "{array} of parameter {parameter} ({m}×{n}): {count} of {all}, first in row {row}, column {column}")
    }
}

/// Differences between a record and its recomputation.
#[derive(Default)]
struct Differences {
    count: u64,
    first: Option<Difference>,
    arrays: Vec<Place>,
    /// `true` once a session was rolled back: later digests then say nothing about earlier states.
    forgotten: bool,
}

impl Differences {
    fn note(&mut self, difference: Difference) {
        self.count += 1;
        self.first.get_or_insert(difference);
    }

    /// Returns `agrees`, the result of comparing a digest. A digest covers the whole past, so if it agrees, no earlier
    /// state differed and the first difference is in the record alone.
    fn agrees(&mut self, agrees: bool) -> bool {
        if let Some(Difference::Update { step } | Difference::Gradient { step, .. }) = self.first
            && agrees
            && !self.forgotten
        {
            self.first = Some(Difference::Recorded { step });
        }
        agrees
    }

    /// Compares the steps of sample number `sample`, from 1.
    fn steps(&mut self, sample: u64, recorded: &Lesson, found: &[Report]) {
        for (at, recorded) in recorded.reports.iter().enumerate() {
            let step = recorded.step;
            let Some(found) = found.get(at) else {
                self.note(Difference::Missing { step });
                continue;
            };
            let state = self.agrees(found.digest == recorded.digest && found.step == step);
            let loss = found.outcome.loss.to_bits() == recorded.outcome.loss.to_bits();
            match (state, loss) {
                (true, true) if found.outcome.admitted != recorded.outcome.admitted => {
                    self.note(Difference::Admitted { step });
                }
                (true, true) => {}
                (true, false) => self.note(Difference::Loss { step }),
                (false, false) => self.note(Difference::Gradient { step, sample }),
                (false, true) => self.note(Difference::Update { step }),
            }
        }
        if found.len() > recorded.reports.len() {
            self.note(Difference::More { sample });
        }
    }

    /// Compares the arrays that were read from a board.
    fn arrays<N: Layer>(&mut self, recorded: &State, network: &mut N) {
        let sides = [("X", &recorded.x), ("Y", &recorded.y), ("M", &recorded.m)];
        let (mut at, mut parameter, mut sized) = (0, 0, true);
        network.parameters(&mut |Parameter { state, .. }| {
            let shape = state.x.shape();
            let range = at..at + shape.0 * shape.1;
            (at, parameter) = (range.end, parameter + 1);
            for ((array, recorded), found) in sides.iter().zip([&state.x, &state.y, &state.m]) {
                let Some(recorded) = recorded.get(range.clone()) else {
                    sized = false;
                    continue;
                };
                let pairs = found.elements().iter().zip(recorded);
                let mut differing = pairs.enumerate().filter(|(_, (f, r))| f.to_bits() != r.to_bits());
                if let Some((first, _)) = differing.next() {
                    let (row, column, count) = (first / shape.1 + 1, first % shape.1 + 1, 1 + differing.count());
                    let place = Place { array, parameter, shape, row, column, count };
                    self.note(Difference::Array(place));
                    self.arrays.push(place);
                }
            }
        });
        if !sized || sides.iter().any(|(_, recorded)| recorded.len() != at) {
            self.note(Difference::Size);
        }
    }
}

/// Recomputes the adaptation of a record on this machine, with a network that `over` makes of core's layers. `target`
/// names the implementation in the result.
///
/// # Errors
/// If the layers of the image do not fit together.
pub fn with<'i, N: Layer>(
    record: &Record,
    image: &Image<'i>,
    target: &str,
    over: impl FnOnce(Layers) -> N,
) -> Result<Replayed<'i, N>> {
    let mut board = start_sessions(over(network(image)?), image.header.recipe, image.start())?;
    let mut differences = Differences::default();
    if board.adaptation().digest() != record.start {
        differences.note(Difference::Start);
    }
    let (mut sample, mut session, mut refused) = (0, 0, 0);
    let mut events = record.events.iter();
    while let Some(event) = events.next() {
        match event {
            Event::Sample(lesson) => {
                sample += 1;
                let due = board.adaptation().step().wrapping_add(1);
                if let Some(Report { step: found, .. }) = lesson.reports.first().filter(|report| report.step != due) {
                    differences.note(Difference::Order { sample, due, found: *found });
                }
                let mut reports: Vec<Report> = Vec::new();
                match board.learn(&lesson.input, lesson.label, |report| reports.push(report)) {
                    Ok(taken) => {
                        if bits(&taken.prediction) != bits(&lesson.taken.prediction) {
                            differences.note(Difference::Prediction { sample });
                        }
                        if taken.held_out != lesson.taken.held_out {
                            differences.note(Difference::HeldOut { sample });
                        }
                    }
                    Err(why) => differences.note(Difference::Untaken { sample, why }),
                }
                differences.steps(sample, lesson, &reports);
            }
            Event::Refused(recorded) => {
                refused += 1;
                if recorded.why == Refusal::Unrecorded {
                    // Depends on the room in the board's journal, not on the sample.
                    continue;
                }
                let why = board.learn(&recorded.input, recorded.label, |_| ()).err();
                if why != Some(recorded.why) {
                    differences.note(Difference::Refusal { refused, why });
                }
            }
            Event::State(recorded) => differences.arrays(recorded, board.network_mut()),
            Event::Gap => {
                // The state from which the board continued is unknown, so no event can follow.
                if events.next().is_some() {
                    differences.note(Difference::Later { sample });
                }
                break;
            }
            Event::End(recorded) => {
                session += 1;
                let verdict = board.end();
                differences.forgotten |= !verdict.committed;
                let state = differences.agrees(board.adaptation().digest() == recorded.digest);
                if verdict != recorded.verdict {
                    differences.note(Difference::Verdict { session });
                } else if !state {
                    differences.note(Difference::Ended { session });
                }
            }
        }
    }
    let adaptation = board.adaptation();
    let target = Target {
        target: target.into(),
        steps: adaptation.step(),
        differing: differences.count,
        first_difference: differences.first.map(|first| first.to_string()),
        arrays: differences.arrays.iter().map(Place::to_string).collect(),
        digest: format!("{:016x}", adaptation.digest()),
    };
    Ok(Replayed { target, sessions: board })
}

fn bits(prediction: &Prediction) -> (u32, u32) {
    (prediction.class, prediction.probability.to_bits())
}
