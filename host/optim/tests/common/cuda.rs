//! What is the same on a CUDA device.

/// The processor and the CUDA device, or a word that there is none.
pub fn devices() -> impl Iterator<Item = tch::Device> {
    let found = graftage_optim::cuda::device();
    if found.is_none() {
        println!("skipped on CUDA: libtorch sees no such device on this machine");
    }
    [tch::Device::Cpu].into_iter().chain(found)
}
