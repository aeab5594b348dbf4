//! CUDA device of the machine, if it has one.
//!
//! A program does not refer to libtorch's CUDA part, so the linker would leave it out, and a program built on a machine
//! without a GPU could not use it. It is therefore loaded when a device is first requested. A program finds the GPU of
//! the machine that it runs on, if the libtorch there has its CUDA part.

pub(crate) mod kernels;

use std::sync::Once;
use tch::Device;

/// Returns the first CUDA device; `None` if libtorch or the machine has none.
///
/// Use it in place of [`Device::cuda_if_available`], and before anything else asks libtorch for its devices, because
/// libtorch remembers the answer.
pub fn device() -> Option<Device> {
    static LOADED: Once = Once::new();
    LOADED.call_once(load);
    tch::Cuda::is_available().then_some(Device::Cuda(0))
}

#[allow(unsafe_code)]
fn load() {
    // SAFETY: this runs the initialisation of a part of the libtorch that this program already runs on, as in a program
    // that is linked with it. The library is never unloaded.
    if let Ok(library) = unsafe { libloading::Library::new(libloading::library_filename("torch_cuda")) } {
        std::mem::forget(library);
    }
}
