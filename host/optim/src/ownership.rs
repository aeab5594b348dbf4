//! Memory that the optimizers of this process step, so that no tensor is stepped twice.

use super::{Error, Result};
use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use tch::Tensor;

/// Memory of the stacks of all optimizers that exist, with the number of their optimizer.
static CLAIMED: Mutex<Claimed> = Mutex::new(Claimed { next: 0, memory: Vec::new() });

struct Claimed {
    next: u64,
    memory: Vec<(u64, Range<usize>)>,
}

/// Claim of an optimizer to its memory. It ends with the optimizer.
#[derive(Debug)]
pub(super) struct Claim(u64);

impl Claim {
    /// Claims the memory of these tensors, which lives as long as the claim.
    pub fn new<'a>(tensors: impl Iterator<Item = &'a Tensor>) -> Self {
        let mut claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
        let number = claimed.next;
        claimed.next += 1;
        claimed.memory.extend(tensors.map(|tensor| (number, memory(tensor))));
        Self(number)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
        claimed.memory.retain(|(number, _)| *number != self.0);
    }
}

/// Addresses of a tensor without gaps.
fn memory(tensor: &Tensor) -> Range<usize> {
    let first = tensor.data_ptr() as usize;
    first..first + tensor.numel() * tensor.kind().elt_size_in_bytes()
}

/// Checks that an optimizer may step these parameters.
///
/// # Errors
/// Returns an error if there are none, if two have the same name or memory, or if another optimizer steps one.
pub(super) fn check(parameters: &[(String, Tensor)]) -> Result<()> {
    let wrong = |name: &str, what: String| Err(Error::Parameter { name: name.to_owned(), what });
    if parameters.is_empty() {
        return Err(Error::NoParameters);
    }
    let claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
    let mut names = HashSet::new();
    let mut places: Vec<(Range<usize>, &str)> = Vec::new();
    for (name, tensor) in parameters {
        let place = memory(tensor);
        if !names.insert(name) {
            return wrong(name, "there are two parameters of this name".into());
        }
        if claimed.memory.iter().any(|(_, memory)| memory.start < place.end && place.start < memory.end) {
            let what = "another optimizer steps it already; drop that one first, or give each one its own parameters";
            return wrong(name, what.into());
        }
        places.push((place, name));
    }
    places.sort_by_key(|(place, _)| place.start);
    match places.windows(2).find(|pair| pair[0].0.end > pair[1].0.start) {
        Some(pair) => wrong(pair[1].1, format!("shares its memory with {}; give a tied tensor once", pair[0].1)),
        None => Ok(()),
    }
}
