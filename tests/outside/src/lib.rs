//! Example device: its network, and the memory in which the network goes on learning.
#![no_std]

pub mod board;
pub mod flash;
pub mod sensor;

use flash::Flash;
use graftage_core::adapt::Ring;
use graftage_core::network::Fixed;
use graftage_core::session::Session;
use graftage_firmware::learner::{Event, Learner};
use graftage_firmware::store::Store;
use static_cell::ConstStaticCell;

/// Network, as written by `graftage graft`.
pub mod network {
    include!("../network.rs");
}
use network::{HELD_OUT, Network, REPLAY};

/// Factory weights of the network, as written by `graftage graft`.
pub static IMAGE: &[u8] = include_bytes!("../image.grft");

/// Number of labelled samples between two saves.
pub const SAVE_EVERY: u64 = 8;

/// Network with everything that it needs to learn.
pub type Sessions = Session<
    'static,
    Network,
    Ring<{ Network::INPUTS }, REPLAY>,
    [f32; Network::SCRATCH],
    [f32; Network::WEIGHTS],
    Ring<{ Network::INPUTS }, HELD_OUT>,
>;

/// Learner with a store in its flash.
pub type Device<F = Flash> = Learner<'static, 'static, Sessions, Option<Store<F>>, fn(Event)>;

/// Sessions in static memory. All zeros, so they take RAM and no flash.
pub static SESSIONS: ConstStaticCell<Sessions> = ConstStaticCell::new(Session::new(
    Network::ZERO,
    Ring::new(),
    [0.0; Network::SCRATCH],
    [0.0; Network::WEIGHTS],
    Ring::new(),
));

// Fails to compile if the flash has no room for the state.
const _: () = assert!(Store::<Flash>::region(Device::<Flash>::saved(REPLAY + HELD_OUT)) <= flash::SIZE);
