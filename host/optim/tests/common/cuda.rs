//! Devices for tests of what is the same on a CUDA device.

/// Returns the processor and the CUDA device. If there is no CUDA device, prints that it is skipped.
pub fn devices() -> impl Iterator<Item = tch::Device> {
    let found = graftage_optim::cuda::device();
    if found.is_none() {
        println!("skipped on CUDA: libtorch sees no such device on this machine");
    }
    [tch::Device::Cpu].into_iter().chain(found)
}
