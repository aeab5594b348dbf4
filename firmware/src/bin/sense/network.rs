// Of the features of one channel; as `graftage graft` writes it.
#[allow(unused_imports)]
use graftage_core::network::*;

/// The network, as its layers stand one after another.
pub type Network = graftage_core::chain![Dense<5, 16>, Relu<16>, Dense<16, 3>];

/// Hash of its schema.
pub const SCHEMA: u64 = 0xcddfa063f5adc3de;

const _: () = assert!(<Network as Fixed>::SCHEMA == SCHEMA, "the type was changed by hand: graft it again");
