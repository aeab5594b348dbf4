//! Initial weights of a training, computed on all cores. Each parameter knows its position in the random stream, so the
//! bits do not depend on the number of cores.

use super::Result;
use graftage_core::matrix::Slab;
use graftage_core::norm::workspace;
use graftage_core::random::{Generator, State};
use graftage_core::scion::{Geometry, Role, Scion};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;

/// Inputs for the initial weights of one parameter.
pub(super) struct Start {
    pub shape: (usize, usize),
    pub geometry: Geometry,
    pub role: Role,
    pub generator: Generator,
}

impl Start {
    /// Returns the generator of the next parameter.
    pub fn next(&self) -> Generator {
        let numbers = if self.role.is_weights() { self.shape.0 * self.shape.1 } else { 0 };
        let state = self.generator.state();
        Generator::at(State { draws: state.draws + numbers as u64, ..state })
    }

    /// Computes X by [`Scion::initialise`], row by row.
    fn weights(&self) -> Vec<f32> {
        let (m, n) = self.shape;
        let [mut x, mut y, mut momentum] = [(); 3].map(|()| vec![0.0; m * n]);
        let [first, second, third] = [&mut x, &mut y, &mut momentum].map(|numbers| Slab::new(m, n, &mut numbers[..]));
        // The memory is as long as the slabs, so all three exist.
        if let (Some(x), Some(y), Some(m)) = (first, second, third) {
            let mut memory = vec![0.0; workspace(self.shape.0, self.shape.1)];
            Scion { x, y, m }.initialise(self.geometry, self.role, &mut self.generator.clone(), &mut memory);
        }
        x
    }
}

/// Passes the index and X of each parameter to `take`, in any order.
///
/// # Errors
/// Returns the first error of `take`.
pub(super) fn each(starts: &[&Start], mut take: impl FnMut(usize, Vec<f32>) -> Result<()>) -> Result<()> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(starts.len());
    let next = AtomicUsize::new(0);
    // At most one finished parameter per thread waits in the channel.
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
        // If this ends early, the receiver is dropped and the threads end, too.
        receiver.into_iter().try_for_each(|(at, weights)| take(at, weights))
    })
}
