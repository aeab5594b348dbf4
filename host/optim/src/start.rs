//! The weights that a training starts from, on all cores: each parameter knows its place in the random numbers, so the bits
//! are the same however many cores there are.

use super::Result;
use graftage_core::matrix::Slab;
use graftage_core::norm::workspace;
use graftage_core::random::Generator;
use graftage_core::scion::{Geometry, Role, Scion};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;

/// What a parameter starts by.
pub(super) struct Start {
    pub shape: (usize, usize),
    pub geometry: Geometry,
    pub role: Role,
    pub generator: Generator,
}

impl Start {
    /// The next parameter's generator.
    pub fn next(&self) -> Generator {
        let numbers = if self.role.is_weights() { self.shape.0 * self.shape.1 } else { 0 };
        let (seed, stream, position) = self.generator.state();
        Generator::at((seed, stream, position + numbers as u64))
    }

    /// X by [`Scion::initialise`], row by row.
    fn weights(&self) -> Vec<f32> {
        let (m, n) = self.shape;
        let [mut x, mut y, mut momentum] = [(); 3].map(|()| vec![0.0; m * n]);
        let [first, second, third] = [&mut x, &mut y, &mut momentum].map(|numbers| Slab::new(m, n, &mut numbers[..]));
        // The memory is as long as the slabs.
        if let (Some(x), Some(y), Some(m)) = (first, second, third) {
            let mut memory = vec![0.0; workspace(self.shape.0, self.shape.1)];
            Scion { x, y, m }.initialise(self.geometry, self.role, &mut self.generator.clone(), &mut memory);
        }
        x
    }
}

/// Gives `take` the index and X of each parameter, in any order.
///
/// # Errors
/// The first of `take`.
pub(super) fn each(starts: &[Start], mut take: impl FnMut(usize, Vec<f32>) -> Result<()>) -> Result<()> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(starts.len());
    let next = AtomicUsize::new(0);
    // As few wait as are computed.
    let (sender, receiver) = sync_channel(threads);
    thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(start) = starts.get(at) else { break };
                    if sender.send((at, start.weights())).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        // Where it ends early, nobody receives any more, and the threads end, too.
        receiver.into_iter().try_for_each(|(at, weights)| take(at, weights))
    })
}
