//! Weights image: a network's weights with its architecture, geometries and recipe, as checksummed bytes.
//!
//! ```text
//! offset  bytes
//! 0       "GRFT"
//! 4       version, u16                  little-endian, like all that follows
//! 6       length of the whole image in bytes, u32
//! 10      header                        postcard: schema hash, layers, a geometry for each parameter, recipe, scale
//!         weights X, f32                parameter by parameter, row by row
//!         weights X₀, f32               the same, where the header says so
//! end−4   CRC-32/ISO-HDLC of all bytes before it
//! ```
//!
//! Nothing of an image is used before its checksum and its schema hash match, and a network changes only if the whole
//! image is valid.

use crate::adapt::Recipe;
use crate::error::ImageError;
use crate::matrix::RowMajor;
use crate::message;
use crate::network::{Kind, Layer, count};
use crate::scion::Geometry;
use core::ops::Range;
use crc::{CRC_32_ISO_HDLC, Crc};
use heapless::Vec;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Format version that this software writes and reads.
pub const VERSION: u16 = 4;

/// Largest number of layers that an image can name.
pub const LAYERS: usize = 16;

const MAGIC: [u8; 4] = *b"GRFT";
const PREFIX: usize = 10;
const CHECKSUM: usize = 4;
/// Lookup table of the checksum. A device does without the usual 1 KB, because storing and sending take longer than
/// computing.
type Table = crc::Table<{ if cfg!(target_os = "none") { 0 } else { 1 } }>;
/// Checksum of everything that is stored or sent.
pub static CRC: Crc<u32, Table> = Crc::<u32, Table>::new(&CRC_32_ISO_HDLC);
/// Checksum of bytes that come piece by piece.
pub type Digest = crc::Digest<'static, u32, Table>;

/// CRC-32/ISO-HDLC of some bytes.
pub fn checksum(bytes: &[u8]) -> u32 {
    CRC.checksum(bytes)
}

/// Destination of bytes, one piece after another.
pub trait Sink {
    /// Appends bytes; `None` if the sink takes no more.
    fn put(&mut self, bytes: &[u8]) -> Option<()>;
}

/// Writes to the start of the slice, which then covers only the rest.
impl Sink for &mut [u8] {
    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let (place, rest) = core::mem::take(self).split_at_mut_checked(bytes.len())?;
        place.copy_from_slice(bytes);
        *self = rest;
        Some(())
    }
}

/// Source of bytes that can be read any number of times.
pub trait Source {
    /// Fills `bytes` from position `at` on; `None` if there are fewer bytes or they cannot be read.
    fn read(&mut self, at: usize, bytes: &mut [u8]) -> Option<()>;
}

impl<S: Source> Source for &mut S {
    fn read(&mut self, at: usize, bytes: &mut [u8]) -> Option<()> {
        (**self).read(at, bytes)
    }
}

impl Source for &[u8] {
    fn read(&mut self, at: usize, bytes: &mut [u8]) -> Option<()> {
        bytes.copy_from_slice(self.get(at..)?.get(..bytes.len())?);
        Some(())
    }
}

/// Contents of an image besides the weights.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Header {
    /// [`Kind::schema`] of the layers.
    pub schema: u64,
    /// Layers of the architecture.
    pub layers: Vec<Kind, LAYERS>,
    /// Geometry of every parameter, in the network's order.
    pub geometries: Vec<Geometry, { 2 * LAYERS }>,
    /// Recipe by which the device adapts.
    pub recipe: Recipe,
    /// Divisor of raw features in training, by which samples for the device must be divided, too. 1 if the first layer
    /// standardises them.
    pub scale: f32,
    /// True if the image also holds the weights X₀ to which [`Pull::Start`](crate::scion::Pull) pulls; otherwise they
    /// are the weights X.
    pub centred: bool,
}

/// Image with a valid checksum, header and lengths.
#[derive(Clone, PartialEq, Debug)]
pub struct Image<'a> {
    /// Contents besides the weights.
    pub header: Header,
    weights: &'a [[u8; 4]],
    start: &'a [[u8; 4]],
    length: usize,
}

impl<'a> Image<'a> {
    /// Parses an image at the start of `bytes`, which may be longer.
    ///
    /// # Errors
    /// An [`ImageError`] if a byte is wrong or missing.
    // Inlined into its caller: in a device built for size this must be small, and only the kernels fast.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ImageError> {
        let (header, words, length) = unframe::<Header>(MAGIC, VERSION, bytes)?;
        if header.layers.is_empty() || header.schema != Kind::schema(&header.layers) {
            return Err(ImageError::Malformed);
        }
        // Only the device knows how many samples its replay buffer holds.
        header.recipe.check(usize::MAX).map_err(ImageError::Recipe)?;
        for geometry in &header.geometries {
            geometry.check().map_err(ImageError::Recipe)?;
        }
        let scalable = header.scale > 0.0 && header.scale <= f32::MAX;
        if !scalable || words.iter().any(|w| !f32::from_le_bytes(*w).is_finite()) {
            return Err(ImageError::NotFinite);
        }
        let (weights, start) = if header.centred { words.split_at(words.len() / 2) } else { (words, words) };
        Ok(Self { header, weights, start, length })
    }

    /// Length of the image in bytes.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The weights, parameter by parameter, row by row.
    pub fn weights(&self) -> impl Iterator<Item = f32> {
        self.weights.iter().map(|w| f32::from_le_bytes(*w))
    }

    /// Weights X₀ that a device with this image began with, as bytes in the place where they are stored.
    pub fn start(&self) -> &'a [[u8; 4]] {
        self.start
    }

    /// Loads weights and geometries into a network whose schema hash is `schema`; Y starts at X, M at 0.
    ///
    /// # Errors
    /// [`ImageError::Schema`] if the image is for another network, [`ImageError::Malformed`] if it has another number
    /// of parameters or weights. Then the network is unchanged.
    pub fn load<N: Layer + ?Sized>(&self, schema: u64, network: &mut N) -> Result<(), ImageError> {
        if self.header.schema != schema {
            return Err(ImageError::Schema { expected: schema, found: self.header.schema });
        }
        let (parameters, weights) = count(network);
        if self.header.geometries.len() != parameters || self.weights.len() != weights || self.start.len() != weights {
            return Err(ImageError::Malformed);
        }
        let mut geometries = self.header.geometries.iter();
        let mut weights = self.weights.iter();
        network.parameters(&mut |mut parameter| {
            if let Some(Geometry { norm, radius }) = geometries.next() {
                // Field by field, because copying the whole would be the only block move of memory in a firmware.
                (parameter.geometry.norm, parameter.geometry.radius) = (*norm, *radius);
            }
            for (x, w) in parameter.state.x.elements_mut().iter_mut().zip(&mut weights) {
                *x = f32::from_le_bytes(*w);
            }
            parameter.start();
        });
        Ok(())
    }
}

/// Writes an image to the start of `memory` and returns its bytes; `None` if the memory is too short.
///
/// There must be as many weights as the layers have; if the header is centred, X and then X₀.
pub fn write<'a>(
    header: &Header,
    weights: impl IntoIterator<Item = f32, IntoIter: Clone>,
    memory: &'a mut [u8],
) -> Option<&'a [u8]> {
    let mut weights = weights.into_iter();
    in_memory(memory, |sink| {
        frame(MAGIC, VERSION, header, weights.clone().count(), sink, |body| {
            weights.try_for_each(|weight| body.word(weight.to_le_bytes()))
        })
    })
}

/// Runs `write` on `memory` and returns the bytes that it wrote at the start; `None` if it fails.
pub(crate) fn in_memory(memory: &mut [u8], write: impl FnOnce(&mut &mut [u8]) -> Option<()>) -> Option<&[u8]> {
    let mut free = &mut *memory;
    write(&mut free)?;
    let free = free.len();
    memory.get(..memory.len() - free)
}

/// Largest length of a header in bytes: up to 32 for each parameter of a snapshot, or up to 10 for each parameter and
/// 26 for each layer of an image, and 200 for the rest.
const HEADER: usize = 200 + 32 * 2 * LAYERS;

/// Largest length of a framed file without its words, in bytes.
pub(crate) const REST: usize = PREFIX + HEADER + CHECKSUM;

/// Writer of all but the checksum of a framed file.
pub(crate) struct Body<'a, S: ?Sized> {
    sink: &'a mut S,
    digest: Digest,
    /// Number of bytes that are still to come.
    left: usize,
}

impl<S: Sink + ?Sized> Body<'_, S> {
    fn bytes(&mut self, bytes: &[u8]) -> Option<()> {
        self.left = self.left.checked_sub(bytes.len())?;
        self.digest.update(bytes);
        self.sink.put(bytes)
    }

    /// Appends a word of four bytes; `None` if there is no room.
    pub(crate) fn word(&mut self, word: [u8; 4]) -> Option<()> {
        self.bytes(&word)
    }

    /// Appends numbers, each as a word.
    pub(crate) fn numbers(&mut self, numbers: &[f32]) -> Option<()> {
        numbers.iter().try_for_each(|number| self.word(number.to_le_bytes()))
    }
}

/// Writes magic, version, length, header, `words` words and a checksum; `None` if the sink takes no more or `write`
/// appends another number of words.
#[inline(never)]
pub(crate) fn frame<S: Sink + ?Sized>(
    magic: [u8; 4],
    version: u16,
    header: &impl Serialize,
    words: usize,
    sink: &mut S,
    write: impl FnOnce(&mut Body<S>) -> Option<()>,
) -> Option<()> {
    let mut memory = [0; HEADER];
    let used = message::encode(header, &mut memory)?;
    let header = memory.get(..used)?;
    let left = words.checked_mul(4)?.checked_add(header.len())?.checked_add(PREFIX)?;
    let length = u32::try_from(left.checked_add(CHECKSUM)?).ok()?;
    let mut body = Body { sink, digest: CRC.digest(), left };
    body.bytes(&magic)?;
    body.bytes(&version.to_le_bytes())?;
    body.bytes(&length.to_le_bytes())?;
    body.bytes(header)?;
    write(&mut body)?;
    let Body { sink, digest, left: 0 } = body else { return None };
    sink.put(&digest.finalize().to_le_bytes())
}

/// Checks magic and version at the start of a framed file and returns the file's length in bytes.
#[inline(never)]
fn begun(magic: [u8; 4], version: u16, prefix: [u8; PREFIX]) -> Result<usize, ImageError> {
    let [m0, m1, m2, m3, v0, v1, l0, l1, l2, l3] = prefix;
    if [m0, m1, m2, m3] != magic {
        return Err(ImageError::Magic);
    }
    let found = u16::from_le_bytes([v0, v1]);
    if found != version {
        return Err(ImageError::Version { expected: version, found });
    }
    Ok(u32::from_le_bytes([l0, l1, l2, l3]) as usize)
}

/// Checks magic, version, length and checksum of a framed file at the start of `bytes`, and returns its header, words
/// and length.
fn unframe<'a, H: Deserialize<'a>>(
    magic: [u8; 4],
    version: u16,
    bytes: &'a [u8],
) -> Result<(H, &'a [[u8; 4]], usize), ImageError> {
    let (prefix, _) = bytes.split_first_chunk().ok_or(ImageError::Truncated)?;
    let length = begun(magic, version, *prefix)?;
    let file = bytes.get(..length).ok_or(ImageError::Truncated)?;
    let (content, sum) = file.split_last_chunk::<CHECKSUM>().ok_or(ImageError::Truncated)?;
    if checksum(content) != u32::from_le_bytes(*sum) {
        return Err(ImageError::Checksum);
    }
    let body = content.get(PREFIX..).ok_or(ImageError::Truncated)?;
    let (header, words) = message::decode::<H>(body).ok_or(ImageError::Malformed)?;
    match words.as_chunks::<4>() {
        (words, []) => Ok((header, words, length)),
        _ => Err(ImageError::Malformed),
    }
}

/// Framed file that cannot be borrowed, with valid magic, version, length and checksum.
pub(crate) struct Framed<S> {
    source: S,
    /// Range of the words in the source, in bytes.
    words: Range<usize>,
    /// Digest of all bytes before the words.
    digest: Digest,
    checksum: u32,
}

impl<S: Source> Framed<S> {
    /// Opens a framed file: checks it and returns its header, which must end within the first [`REST`] bytes, and the
    /// file.
    pub(crate) fn open<H: DeserializeOwned>(
        magic: [u8; 4],
        version: u16,
        mut source: S,
    ) -> Result<(H, Self), ImageError> {
        let mut prefix = [0; PREFIX];
        source.read(0, &mut prefix).ok_or(ImageError::Truncated)?;
        let end = begun(magic, version, prefix)?.checked_sub(CHECKSUM).ok_or(ImageError::Truncated)?;
        let mut begin = [0; REST];
        let begin = begin.get_mut(..end.min(REST)).unwrap_or_default();
        source.read(0, begin).ok_or(ImageError::Truncated)?;
        let mut digest = CRC.digest();
        digest.update(begin);
        let (mut at, mut piece) = (begin.len(), [0; 64]);
        while at < end {
            let piece = piece.get_mut(..end.saturating_sub(at).min(64)).unwrap_or_default();
            source.read(at, piece).ok_or(ImageError::Truncated)?;
            digest.update(piece);
            at = at.saturating_add(piece.len());
        }
        let mut sum = [0; CHECKSUM];
        source.read(end, &mut sum).ok_or(ImageError::Truncated)?;
        let checksum = u32::from_le_bytes(sum);
        if digest.finalize() != checksum {
            return Err(ImageError::Checksum);
        }
        let header = begin.get(PREFIX..).ok_or(ImageError::Truncated)?;
        let (header, rest) = message::decode::<H>(header).ok_or(ImageError::Malformed)?;
        let before = begin.get(..begin.len().saturating_sub(rest.len())).unwrap_or_default();
        let (mut digest, words) = (CRC.digest(), before.len()..end);
        digest.update(before);
        if !words.len().is_multiple_of(4) {
            return Err(ImageError::Malformed);
        }
        Ok((header, Self { source, words, digest, checksum }))
    }

    /// Number of words in the file.
    pub(crate) fn count(&self) -> usize {
        self.words.len() / 4
    }

    /// Starts reading the words once more.
    #[inline(never)]
    pub(crate) fn words(&mut self) -> Words<'_, S> {
        let Self { source, words, digest, checksum } = self;
        Words { source, left: words.clone(), digest: digest.clone(), checksum: *checksum }
    }
}

/// Iterator over the words of a framed file.
pub(crate) struct Words<'a, S> {
    source: &'a mut S,
    left: Range<usize>,
    digest: Digest,
    checksum: u32,
}

impl<S: Source> Words<'_, S> {
    /// Checks that all words were read, and that they match the checksum.
    pub(crate) fn end(self) -> Result<(), ImageError> {
        if self.left.is_empty() && self.digest.finalize() == self.checksum { Ok(()) } else { Err(ImageError::Checksum) }
    }
}

impl<S: Source> Iterator for Words<'_, S> {
    type Item = [u8; 4];

    fn next(&mut self) -> Option<[u8; 4]> {
        let (mut word, Range { start, end }) = ([0; 4], self.left.clone());
        let next = start.checked_add(4).filter(|next| *next <= end)?;
        self.source.read(start, &mut word)?;
        self.digest.update(&word);
        self.left = next..end;
        Some(word)
    }
}
