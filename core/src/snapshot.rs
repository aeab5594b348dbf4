//! The whole state of an adaptation as checksummed bytes: an interrupted one goes on in the same bits.
//!
//! ```text
//! offset  bytes
//! 0       "GRFS"
//! 4       version, u16                  little-endian, like all that follows
//! 6       length of the whole snapshot in bytes, u32
//! 10      header                        postcard: schema hash, recipe, position, for each parameter its geometry and
//!                                       what the alignment law knows
//!         X, Y, M, f32                  parameter by parameter, row by row
//!         samples, f32 and label, u32   of the replay buffer, oldest first
//! end−4   CRC-32/ISO-HDLC of all bytes before it
//! ```
//!
//! The position is all that counts steps: step t, from which step size and momentum of the schedules follow, drift, the
//! generator, samples seen and predicted rightly. Nothing of a snapshot is used before its checksum and all its lengths
//! agree with the network and the replay buffer that are to take it.

use crate::adapt::{Adaptation, Position, Recipe, Replay};
use crate::error::ImageError;
use crate::image::{self, LAYERS, Sink};
use crate::matrix::RowMajor;
use crate::network::{LARGEST_MOMENTUM, Layer, Parameter};
use crate::scion::Geometry;
use crate::transport::Alignment;
use heapless::Vec;
use serde::{Deserialize, Serialize};

/// The version that this software writes and reads.
pub const VERSION: u16 = 1;

const MAGIC: [u8; 4] = *b"GRFS";

#[derive(Serialize, Deserialize)]
struct Header {
    schema: u64,
    recipe: Recipe,
    position: Position,
    replay: u32,
    parameters: Vec<Settings, { 2 * LAYERS }>,
}

/// What a parameter has besides its arrays.
#[derive(Serialize, Deserialize)]
struct Settings {
    geometry: Geometry,
    mean: Option<f32>,
    weight: f32,
}

/// Bytes that [`write()`] needs at most, for a network of so many weights and inputs and so many samples in the replay buffer.
pub const fn length(weights: usize, inputs: usize, samples: usize) -> usize {
    // A header of all parameters takes no more than 32 bytes for each and 160 for the rest.
    image::FRAME + 160 + 32 * 2 * LAYERS + 12 * weights + samples * 4 * (inputs + 1)
}

/// Writes the state of an adaptation whose network has this schema hash, and returns its bytes at the start of `memory`;
/// `None` where that is too short, the adaptation was not started, or it has more parameters than an image can name.
pub fn write<'a, N: Layer, R: Replay, S: AsMut<[f32]>>(
    adaptation: &mut Adaptation<N, R, S>,
    schema: u64,
    memory: &'a mut [u8],
) -> Option<&'a [u8]> {
    image::in_memory(memory, |sink| write_to(adaptation, schema, sink))
}

/// The same to a sink, piece by piece: no memory of the snapshot's size is needed.
pub fn write_to<N: Layer, R: Replay, S: AsMut<[f32]>>(
    adaptation: &mut Adaptation<N, R, S>,
    schema: u64,
    sink: &mut (impl Sink + ?Sized),
) -> Option<()> {
    let position = adaptation.position()?;
    let recipe = *adaptation.recipe();
    let (mut parameters, mut numbers) = (Some(Vec::new()), 0);
    adaptation.network_mut().parameters(&mut |Parameter { state, geometry, alignment, .. }| {
        numbers += 3 * state.x.elements().len();
        let Alignment { mean, weight } = *alignment;
        let settings = Settings { geometry: *geometry, mean, weight };
        parameters = parameters.take().and_then(|mut all| all.push(settings).ok().map(|()| all));
    });
    let samples = adaptation.replay().len();
    let header = Header { schema, recipe, position, replay: samples as u32, parameters: parameters? };
    let words = numbers + samples * (adaptation.network().inputs() + 1);
    image::frame(MAGIC, VERSION, &header, words, sink, |body| {
        let mut whole = true;
        adaptation.network_mut().parameters(&mut |Parameter { state, .. }| {
            for matrix in [&state.x, &state.y, &state.m] {
                whole &= body.numbers(matrix.elements()).is_some();
            }
        });
        for (input, label) in (0..samples).filter_map(|index| adaptation.replay().get(index)) {
            body.numbers(input)?;
            body.word(label.to_le_bytes())?;
        }
        whole.then_some(())
    })
}

/// Puts a snapshot at the start of `bytes` into an adaptation whose network has this schema hash: it then is, in every bit,
/// the one that was written.
///
/// # Errors
/// Where a byte is wrong or missing, or the snapshot is of another network or of more samples than the replay buffer can
/// hold; then nothing has changed.
pub fn restore<N: Layer, R: Replay, S: AsMut<[f32]>>(
    adaptation: &mut Adaptation<N, R, S>,
    schema: u64,
    bytes: &[u8],
) -> Result<(), ImageError> {
    let (header, words, _) = image::unframe::<Header>(MAGIC, VERSION, bytes)?;
    if header.schema != schema {
        return Err(ImageError::Schema { expected: schema, found: header.schema });
    }
    header.recipe.check(adaptation.replay().capacity()).map_err(ImageError::Recipe)?;
    let (mut parameters, mut numbers) = (0, 0);
    adaptation.network_mut().parameters(&mut |Parameter { state, .. }| {
        parameters += 1;
        numbers += 3 * state.x.elements().len();
    });
    let sample = adaptation.network().inputs() + 1;
    let samples = header.replay as usize;
    let fits = header.parameters.len() == parameters
        && samples <= header.recipe.replay as usize
        && Some(words.len()) == samples.checked_mul(sample).and_then(|labelled| labelled.checked_add(numbers));
    let (arrays, labelled) = words.split_at_checked(numbers).ok_or(ImageError::Malformed)?;
    if !fits {
        return Err(ImageError::Malformed);
    }
    for settings in &header.parameters {
        settings.geometry.check().map_err(ImageError::Recipe)?;
    }
    let finite = |words: &[[u8; 4]]| words.iter().all(|word| f32::from_le_bytes(*word).is_finite());
    let classes = adaptation.network().outputs() as u32;
    let right = |sample: &[[u8; 4]]| {
        sample.split_last().is_some_and(|(label, input)| finite(input) && u32::from_le_bytes(*label) < classes)
    };
    let counted = header.position.drift >= 0.0;
    let bounded = |number: f32, bound: f32| (-bound..=bound).contains(&number);
    // A larger momentum might overflow in the next step.
    let mut words = arrays.iter();
    let mut admitted = true;
    adaptation.network_mut().parameters(&mut |Parameter { state, .. }| {
        let size = state.m.elements().len();
        let mut momentum = words.by_ref().skip(2 * size).take(size);
        admitted &= momentum.all(|word| bounded(f32::from_le_bytes(*word), LARGEST_MOMENTUM));
    });
    // A sum of cosines, to rounding, with weights that sum up to no more than 1.
    let known = |settings: &Settings| {
        settings.mean.is_none_or(|mean| bounded(mean, 2.0)) && (0.0..=1.0).contains(&settings.weight)
    };
    let right = finite(arrays) && labelled.chunks(sample).all(right) && header.parameters.iter().all(known);
    if !(counted && admitted && right) {
        return Err(ImageError::NotFinite);
    }
    // From here on nothing can fail but the start, which changes nothing where it does.
    adaptation.start(header.recipe).map_err(ImageError::Recipe)?;
    let (mut arrays, mut settings) = (arrays.iter(), header.parameters.iter());
    adaptation.network_mut().parameters(&mut |Parameter { state, geometry, alignment, .. }| {
        let mut state = state;
        for matrix in [&mut state.x, &mut state.y, &mut state.m] {
            for (e, word) in matrix.elements_mut().iter_mut().zip(&mut arrays) {
                *e = f32::from_le_bytes(*word);
            }
        }
        if let Some(Settings { geometry: of, mean, weight }) = settings.next() {
            (*geometry, *alignment) = (*of, Alignment { mean: *mean, weight: *weight });
        }
    });
    adaptation.resume(
        header.position,
        labelled.chunks(sample).filter_map(|sample| {
            let (label, input) = sample.split_last()?;
            Some((input.iter().map(|word| f32::from_le_bytes(*word)), u32::from_le_bytes(*label)))
        }),
    );
    Ok(())
}
