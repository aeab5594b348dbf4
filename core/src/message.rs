//! Small structures encoded as bytes, in postcard.
//!
//! Postcard's own slices are inlined wherever a number is written or read. This costs a device more code than the
//! single copy here.

use postcard::de_flavors::Flavor as Input;
use postcard::ser_flavors::Flavor as Output;
use postcard::{Deserializer, Error, Result};
use serde::{Deserialize, Serialize};

/// Encodes a message at the start of `memory` and returns its length in bytes; `None` if the memory is too short.
pub fn encode(message: &impl Serialize, memory: &mut [u8]) -> Option<usize> {
    let all = memory.len();
    let free = postcard::serialize_with_flavor(message, Memory(memory)).ok()?;
    all.checked_sub(free)
}

/// Decodes the message at the start of `bytes` and returns it with the bytes that follow; `None` if there is none.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<(T, &'a [u8])> {
    let mut deserializer = Deserializer::from_flavor(Bytes(bytes));
    let message = T::deserialize(&mut deserializer).ok()?;
    Some((message, deserializer.finalize().ok()?))
}

/// Memory that is still free.
struct Memory<'a>(&'a mut [u8]);

impl Output for Memory<'_> {
    type Output = usize;

    #[inline(never)]
    fn try_extend(&mut self, bytes: &[u8]) -> Result<()> {
        let (place, rest) =
            core::mem::take(&mut self.0).split_at_mut_checked(bytes.len()).ok_or(Error::SerializeBufferFull)?;
        place.copy_from_slice(bytes);
        self.0 = rest;
        Ok(())
    }

    #[inline(never)]
    fn try_push(&mut self, byte: u8) -> Result<()> {
        self.try_extend(&[byte])
    }

    fn finalize(self) -> Result<usize> {
        Ok(self.0.len())
    }
}

/// Bytes that are still to be read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Input<'a> for Bytes<'a> {
    type Remainder = &'a [u8];
    type Source = &'a [u8];

    #[inline(never)]
    fn pop(&mut self) -> Result<u8> {
        let (byte, rest) = self.0.split_first().ok_or(Error::DeserializeUnexpectedEnd)?;
        self.0 = rest;
        Ok(*byte)
    }

    // Inlined, so that a caller that asks for four bytes, say, sees that it gets four, and has no panic path.
    #[inline]
    fn try_take_n(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Error::DeserializeUnexpectedEnd)?;
        self.0 = rest;
        Ok(taken)
    }

    fn finalize(self) -> Result<&'a [u8]> {
        Ok(self.0)
    }
}
