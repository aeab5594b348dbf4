/// The network, as its layers stand one after another.
pub type Network = graftage_core::chain![Dense<64, 32>, Relu<32>, Dense<32, 10>];
