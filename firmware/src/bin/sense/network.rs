// Network for the features of one channel, in the form that `graftage graft` writes.
#[allow(unused_imports)]
use graftage_core::network::*;

/// The network, as its layers stand one after another.
pub type Network = graftage_core::chain![Dense<5, 16>, Relu<16>, Dense<16, 3>];

/// Hash of its schema.
pub const SCHEMA: u64 = 0xcddfa063f5adc3de;

/// Samples that the replay buffer has room for.
pub const REPLAY: usize = 128;

/// Samples that there is room to hold out.
pub const HELD_OUT: usize = 32;

const _: () = assert!(REPLAY > 0 && HELD_OUT > 0);
const _: () = assert!(<Network as Fixed>::SCHEMA == SCHEMA, "the type was changed by hand: graft it again");
