//! Snapshot of the whole state of sessions, as checksummed bytes. An interrupted session continues from it with the
//! same bits.
//!
//! ```text
//! offset  bytes
//! 0       "GRFS"
//! 4       version, u16                  little-endian, like all that follows
//! 6       length of the whole snapshot in bytes, u32
//! 10      header                        postcard: schema hash, recipe, position, counts of samples and sessions, state
//!                                       of the open session, sizes of replay buffer and held-out samples, for each
//!                                       parameter its geometry and the state of the alignment law
//!         X, Y, M, f32                  parameter by parameter, row by row
//!         the weights in use, f32       the same
//!         samples: label, u32, and f32  of the replay buffer, oldest first, then the held-out ones
//! end−4   CRC-32/ISO-HDLC of all bytes before it
//! ```
//!
//! The position holds all counters: step t, from which the schedules' step size and momentum follow, movement,
//! generator, and the numbers of samples seen and predicted correctly. Nothing of a snapshot is used before its
//! checksum matches and all its lengths agree with the network and the memory that are to take it.

use crate::adapt::{HoldOut, Position, Recipe, Replay};
use crate::error::ImageError;
use crate::image::{self, Body, Framed, LAYERS, Sink, Source, Words};
use crate::matrix::RowMajor;
use crate::network::{LARGEST_MOMENTUM, Layer, Parameter, count};
use crate::scion::Geometry;
use crate::session::{Counts, Open, Session};
use crate::transport::Alignment;
use heapless::Vec;
use serde::{Deserialize, Serialize};

/// Format version that this software writes and reads.
pub const VERSION: u16 = 4;

const MAGIC: [u8; 4] = *b"GRFS";

#[derive(Serialize, Deserialize)]
struct Header {
    schema: u64,
    recipe: Recipe,
    position: Position,
    counts: Counts,
    open: Open,
    replay: u32,
    held_out: u32,
    parameters: Vec<Settings, { 2 * LAYERS }>,
}

/// Settings of a parameter besides its arrays.
#[derive(Serialize, Deserialize)]
struct Settings {
    geometry: Geometry,
    mean: Option<f32>,
    weight: f32,
}

/// Largest length of a snapshot in bytes, as [`write()`] makes it, for a network of `weights` weights and `inputs`
/// inputs with `samples` samples in replay buffer and held-out samples together.
pub const fn length(weights: usize, inputs: usize, samples: usize) -> usize {
    image::REST + 16 * weights + samples * 4 * (inputs + 1)
}

/// Writes the state of sessions whose network has this schema hash to the start of `memory`, and returns its bytes. A
/// sample that is being learnt is [finished](Session::finish) first.
///
/// Returns `None` if the memory is too short, the sessions were not started, or the network has more parameters than an
/// image can name.
pub fn write<'a, N: Layer, R: Replay, S: AsMut<[f32]>, W: AsMut<[f32]>, H: Replay>(
    session: &mut Session<N, R, S, W, H>,
    schema: u64,
    memory: &'a mut [u8],
) -> Option<&'a [u8]> {
    image::in_memory(memory, |sink| write_to(session, schema, sink))
}

/// Like [`write()`], but to a sink, piece by piece: no memory of the snapshot's size is needed.
pub fn write_to<N: Layer, R: Replay, S: AsMut<[f32]>, W: AsMut<[f32]>, H: Replay>(
    session: &mut Session<N, R, S, W, H>,
    schema: u64,
    sink: &mut (impl Sink + ?Sized),
) -> Option<()> {
    session.settle();
    let position = session.adaptation().position()?;
    let (recipe, counts, open) = (*session.adaptation().recipe(), session.counts(), session.open());
    let (replay, held_out) = (session.adaptation().replay().len(), session.held_out().len());
    let words = 4 * session.in_use().len() + (replay + held_out) * (session.adaptation().network().inputs() + 1);
    let (replay, held_out, parameters) = (replay as u32, held_out as u32, Vec::new());
    let mut header = Header { schema, recipe, position, counts, open, replay, held_out, parameters };
    let mut whole = true;
    session.network_mut().parameters(&mut |Parameter { geometry, alignment, .. }| {
        let Alignment { mean, weight } = *alignment;
        whole &= header.parameters.push(Settings { geometry: *geometry, mean, weight }).is_ok();
    });
    if !whole {
        return None;
    }
    image::frame(MAGIC, VERSION, &header, words, sink, |body| {
        let mut whole = true;
        session.network_mut().parameters(&mut |Parameter { state, .. }| {
            for matrix in [&state.x, &state.y, &state.m] {
                whole &= body.numbers(matrix.elements()).is_some();
            }
        });
        body.numbers(session.in_use())?;
        samples(session.adaptation().replay(), body)?;
        samples(session.held_out(), body)?;
        whole.then_some(())
    })
}

fn samples<S: Sink + ?Sized>(replay: &impl Replay, body: &mut Body<S>) -> Option<()> {
    for (input, label) in (0..replay.len()).filter_map(|index| replay.get(index)) {
        body.word(label.to_le_bytes())?;
        body.numbers(input)?;
    }
    Some(())
}

/// Restores a snapshot at the start of `source` into sessions whose network has this schema hash. They are then, in
/// every bit, those that were written. The source is read three times, piece by piece, so no memory of the snapshot's
/// size is needed.
///
/// # Errors
/// An [`ImageError`] if a byte is wrong or missing, or the snapshot is of another network or of more samples than the
/// memory can hold. Then nothing has changed. If the source passed the checks but reads differently when its contents
/// are taken, the error is [`ImageError::Checksum`]; then the sessions are no longer started, and the network must be
/// given its weights again.
pub fn restore<N: Layer, R: Replay, S: AsMut<[f32]>, W: AsMut<[f32]>, H: Replay>(
    session: &mut Session<N, R, S, W, H>,
    schema: u64,
    source: impl Source,
) -> Result<(), ImageError> {
    let (header, mut file) = Framed::open::<Header>(MAGIC, VERSION, source)?;
    if header.schema != schema {
        return Err(ImageError::Schema { expected: schema, found: header.schema });
    }
    session.check(&header.recipe).map_err(ImageError::Recipe)?;
    let (parameters, weights) = count(session.network_mut());
    let sample = session.adaptation().network().inputs() + 1;
    let (replay, held_out) = (header.replay as usize, header.held_out as usize);
    let keep = header.recipe.hold_out.map_or(0, |HoldOut { keep, .. }| keep);
    let before = held_out.checked_sub(header.open.newest(keep) as usize);
    // The buffer holds all that the open session has learnt, or has been filled by it.
    let least = header.open.learnt.min(header.recipe.replay);
    let samples = replay.checked_add(held_out).and_then(|samples| samples.checked_mul(sample));
    let fits = header.parameters.len() == parameters
        && (least..=header.recipe.replay).contains(&header.replay)
        && before.is_some_and(|before| before <= keep as usize / 2)
        && Some(file.count()) == samples.and_then(|labelled| labelled.checked_add(4 * weights));
    if !fits {
        return Err(ImageError::Malformed);
    }
    for settings in &header.parameters {
        settings.geometry.check().map_err(ImageError::Recipe)?;
    }
    let mut words = file.words();
    let right = are_right(session, &header, &mut words);
    words.end()?;
    if !right {
        return Err(ImageError::NotFinite);
    }
    session.start(header.recipe).map_err(ImageError::Recipe)?;
    let mut words = file.words();
    let (mut numbers, mut settings) = (words.by_ref().map(f32::from_le_bytes), header.parameters.iter());
    session.network_mut().parameters(&mut |Parameter { state, geometry, alignment, .. }| {
        let mut state = state;
        for matrix in [&mut state.x, &mut state.y, &mut state.m] {
            matrix.elements_mut().iter_mut().zip(&mut numbers).for_each(|(e, number)| *e = number);
        }
        if let Some(Settings { geometry: of, mean, weight }) = settings.next() {
            // Field by field, as in `Image::load`.
            (geometry.norm, geometry.radius) = (of.norm, of.radius);
            *alignment = Alignment { mean: *mean, weight: *weight };
        }
    });
    session.resume(header.position, (header.counts, header.open), (replay, held_out), &mut words);
    words.end().inspect_err(|_| session.stop())
}

/// Returns whether the numbers of a snapshot are possible in sessions: finite, with labels that the network has. Takes
/// all words.
#[inline(never)]
fn are_right<N: Layer, R: Replay, S: AsMut<[f32]>, W: AsMut<[f32]>, H: Replay>(
    session: &mut Session<N, R, S, W, H>,
    header: &Header,
    words: &mut Words<impl Source>,
) -> bool {
    let (weights, network) = (session.in_use().len(), session.adaptation().network());
    let (inputs, classes) = (network.inputs(), network.outputs() as u32);
    let bounded = |number: f32, bound: f32| (-bound..=bound).contains(&number);
    let all_bounded = |words: &mut Words<_>, count: usize, bound: f32| {
        words.take(count).fold(true, |all, word| all & bounded(f32::from_le_bytes(word), bound))
    };
    let mut right = header.position.movement >= 0.0;
    session.network_mut().parameters(&mut |Parameter { state, .. }| {
        let size = state.m.elements().len();
        // A larger momentum could overflow in the next step.
        for bound in [f32::MAX, f32::MAX, LARGEST_MOMENTUM] {
            right &= all_bounded(words, size, bound);
        }
    });
    right &= all_bounded(words, weights, f32::MAX);
    while let Some(label) = words.next() {
        right &= u32::from_le_bytes(label) < classes && all_bounded(words, inputs, f32::MAX);
    }
    // A sum of cosines, to rounding, whose weights add up to at most 1.
    let known = |settings: &Settings| {
        settings.mean.is_none_or(|mean| bounded(mean, 2.0)) && (0.0..=1.0).contains(&settings.weight)
    };
    right && header.parameters.iter().all(known)
}
