//! Decoding of numbers in binary files.

use crate::error::{Error, Result};
use std::path::Path;

/// Encoding of a number in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Number {
    /// A byte; any value but 0 is true.
    Bool,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F16,
    F32,
    F64,
}

/// Arrangement of the numbers of some samples in a file.
pub(super) struct Layout {
    pub number: Number,
    pub big_endian: bool,
    /// Number of samples, followed by the shape of one sample.
    pub shape: Vec<usize>,
    /// Length of the header in bytes.
    pub header: usize,
    /// `true` if the first index varies fastest, as in Fortran; `false` if the last one does, as in C.
    pub fortran: bool,
}

impl Number {
    fn bytes(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 | Self::F16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// Decodes bytes to the nearest binary64 numbers.
    fn decode(self, big_endian: bool, bytes: &[u8]) -> Vec<f64> {
        macro_rules! each {
            ($type:ty) => {{
                const SIZE: usize = size_of::<$type>();
                let (numbers, _) = bytes.as_chunks::<SIZE>();
                let from = if big_endian { <$type>::from_be_bytes } else { <$type>::from_le_bytes };
                numbers.iter().map(|number| from(*number) as f64).collect()
            }};
        }
        match self {
            Self::Bool => bytes.iter().map(|byte| f64::from(*byte != 0)).collect(),
            Self::U8 => each!(u8),
            Self::I8 => each!(i8),
            Self::U16 => each!(u16),
            Self::I16 => each!(i16),
            Self::U32 => each!(u32),
            Self::I32 => each!(i32),
            Self::U64 => each!(u64),
            Self::I64 => each!(i64),
            Self::F16 => {
                let (numbers, _) = bytes.as_chunks::<2>();
                let from = if big_endian { u16::from_be_bytes } else { u16::from_le_bytes };
                numbers.iter().map(|number| binary16(from(*number))).collect()
            }
            Self::F32 => each!(f32),
            Self::F64 => each!(f64),
        }
    }
}

/// Converts the bits of a binary16 number (IEEE 754).
fn binary16(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    let magnitude = match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
    };
    if bits >> 15 == 1 { -magnitude } else { magnitude }
}

impl Layout {
    /// Size of one sample in bytes; `None` if it, or the size of the whole file, overflows `usize`.
    fn sample(&self) -> Option<usize> {
        let product = |sizes: &[usize], first| sizes.iter().try_fold(first, |all: usize, size| all.checked_mul(*size));
        let sample = product(&self.shape[1..], self.number.bytes())?;
        sample.checked_mul(self.shape[0])?.checked_add(self.header)?;
        Some(sample)
    }

    /// Returns the bytes of all numbers of a file.
    ///
    /// # Errors
    /// If there are no samples, or the file has another length than its header says; the message names sample and byte.
    pub fn body<'a>(&self, path: &Path, bytes: &'a [u8]) -> Result<&'a [u8]> {
        let wrong = |what: String| Err(Error::content(path, what));
        let (samples, shape) = (self.shape[0], &self.shape[1..]);
        let sample = match self.sample() {
            Some(sample) => sample,
            None => {
                return wrong(format!(
                    "its header promises {samples} samples of shape {shape:?}, too many for any memory"
                ));
            }
        };
        if sample * samples == 0 {
            return wrong(format!("no samples: found {samples} of shape {shape:?}"));
        }
        let (length, expected) = (bytes.len(), self.header + sample * samples);
        if length < expected {
            let at = 1 + length.saturating_sub(self.header) / sample;
            return wrong(format!(
                "truncated at byte {length}, in sample {at} of {samples}: expected {expected} bytes; download it again"
            ));
        }
        if length > expected {
            return wrong(format!(
                "{} bytes follow the last of {samples} samples, at byte {expected}",
                length - expected
            ));
        }
        Ok(&bytes[self.header..])
    }

    /// Decodes all numbers of a file, sample by sample, with the last index varying fastest.
    ///
    /// # Errors
    /// Same as [`Layout::body`]. Also if a number is not finite.
    pub fn numbers(&self, path: &Path, bytes: &[u8]) -> Result<Vec<f64>> {
        let numbers = self.number.decode(self.big_endian, self.body(path, bytes)?);
        let inputs = numbers.len() / self.shape[0];
        let place = |at: usize| if self.fortran { self.transposed(at) } else { at };
        match numbers.iter().position(|number| !number.is_finite()) {
            Some(at) => {
                let byte = self.header + at * self.number.bytes();
                let (sample, element, found) = (place(at) / inputs + 1, place(at) % inputs + 1, numbers[at]);
                let what =
                    format!("sample {sample}, number {element}, byte {byte}: expected a finite number, found {found}");
                Err(Error::content(path, what))
            }
            None if self.fortran => {
                let mut ordered = vec![0.0; numbers.len()];
                numbers.into_iter().enumerate().for_each(|(at, number)| ordered[place(at)] = number);
                Ok(ordered)
            }
            None => Ok(numbers),
        }
    }

    /// Converts an index in Fortran order to the index of the same number in C order.
    fn transposed(&self, mut at: usize) -> usize {
        let mut stride: usize = self.shape.iter().product();
        let each = self.shape.iter().map(|size| {
            stride /= size;
            let index = at % size;
            at /= size;
            index * stride
        });
        each.sum()
    }
}
