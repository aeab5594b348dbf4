//! The CUDA device, where there is one.
//!
//! Nothing in a program refers to libtorch's CUDA part, so the linker leaves it out, and a program that was built where
//! there is no GPU could not have it. It is loaded when it is first asked for: a program finds the GPU of the machine that it
//! runs on, if the libtorch there has its CUDA part.

pub(crate) mod kernels;

use std::sync::Once;
use tch::Device;

/// The first CUDA device; `None` where libtorch, or the machine, has none.
///
/// To be asked before anything else asks libtorch for its devices, as that remembers the answer: in place of
/// [`Device::cuda_if_available`].
pub fn device() -> Option<Device> {
    static LOADED: Once = Once::new();
    LOADED.call_once(load);
    tch::Cuda::is_available().then_some(Device::Cuda(0))
}

#[allow(unsafe_code)]
fn load() {
    // SAFETY: what runs is the start of a part of the libtorch that this program runs on already, as a program that is
    // linked with it runs it; it is never unloaded.
    if let Ok(library) = unsafe { libloading::Library::new(libloading::library_filename("torch_cuda")) } {
        std::mem::forget(library);
    }
}
