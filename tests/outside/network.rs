// Written by `graftage graft`; the image beside it has the same schema.
#[allow(unused_imports)]
use graftage_core::network::*;

/// The network, as its layers stand one after another.
pub type Network = graftage_core::chain![Dense<8, 16>, Relu<16>, Dense<16, 4>];

/// Hash of its schema.
pub const SCHEMA: u64 = 0xe72ceb197e5fcf7e;

/// Samples that the replay buffer has room for.
pub const REPLAY: usize = 32;

/// Samples that there is room to hold out.
pub const HELD_OUT: usize = 16;

const _: () = assert!(REPLAY > 0 && HELD_OUT > 0);
const _: () = assert!(<Network as Fixed>::SCHEMA == SCHEMA, "the type was changed by hand: graft it again");
