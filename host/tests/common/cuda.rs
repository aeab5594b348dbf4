//! What is the same on a CUDA device.

/// The CUDA device, or a word that there is none.
pub fn device() -> Option<tch::Device> {
    let found = tch::Cuda::is_available().then_some(tch::Device::Cuda(0));
    if found.is_none() {
        println!("skipped: libtorch sees no CUDA device on this machine");
    }
    found
}
