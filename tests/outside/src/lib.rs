//! My device: its network, and the memory in which that goes on learning.
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

/// The network, as `graftage graft` writes it.
pub mod network {
    include!("../network.rs");
}
use network::{HELD_OUT, Network, REPLAY};

/// Its weights when the device leaves the factory, as `graftage graft` writes them.
pub static IMAGE: &[u8] = include_bytes!("../image.grft");

/// After so many more labelled samples the state is saved.
pub const SAVE_EVERY: u64 = 8;

/// The network with all that it learns with.
pub type Sessions = Session<
    'static,
    Network,
    Ring<{ Network::INPUTS }, REPLAY>,
    [f32; Network::SCRATCH],
    [f32; Network::WEIGHTS],
    Ring<{ Network::INPUTS }, HELD_OUT>,
>;

/// The learner, with a store in that flash.
pub type Device<F = Flash> = Learner<'static, 'static, Sessions, Option<Store<F>>, fn(Event)>;

/// All zeros, so that it takes RAM and no flash.
pub static SESSIONS: ConstStaticCell<Sessions> = ConstStaticCell::new(Session::new(
    Network::ZERO,
    Ring::new(),
    [0.0; Network::SCRATCH],
    [0.0; Network::WEIGHTS],
    Ring::new(),
));

// The compiler says so where the flash has no room for the state.
const _: () = assert!(Store::<Flash>::region(Device::<Flash>::saved(REPLAY + HELD_OUT)) <= flash::SIZE);
