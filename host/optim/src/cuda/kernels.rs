//! CUDA kernels for operations that take libtorch several passes over memory. Apart from its products, a step is then
//! as fast as memory allows.
//!
//! The kernels are compiled on first use, by the compiler that comes with every libtorch that has a CUDA part. If that
//! fails (on an AMD GPU, or a GPU newer than the compiler), the functions here report that they have done nothing.

use libloading::{Library, library_filename};
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::ptr::{from_ref, null, null_mut};
use std::sync::OnceLock;
use tch::{Device, Kind, Tensor};

const SOURCE: &str = include_str!("kernels.cu");

/// Threads per block.
const THREADS: i64 = 256;
/// Numbers per thread: `EACH` in the source.
const EACH: i64 = 4;
/// Largest number of matrices in a stack: the limit of blocks along the second axis of a grid.
const MATRICES: i64 = 65535;
/// Largest number of devices per machine for which kernels are compiled.
const DEVICES: usize = 64;

/// Computes s ← a·s + b·o, rounded like core's [`combine`](graftage_core::matrix::Matrix::combine), except for matrices
/// whose flag is false. Returns `true` if it was done.
pub fn combine(s: &Tensor, o: &Tensor, flags: Option<&Tensor>, a: f32, b: f32) -> bool {
    let Some((kernels, stack)) = Stack::of(s, flags).filter(|(_, stack)| stack.fits(o, Kind::Float)) else {
        return false;
    };
    let (s, o, flags, numbers) = (s.data_ptr(), o.data_ptr(), pointer(flags), stack.numbers);
    let arguments = [argument(&s), argument(&o), argument(&flags), argument(&a), argument(&b), argument(&numbers)];
    kernels.launch(kernels.combine, stack.blocks(), stack.matrices, arguments);
    true
}

/// Computes core's [`step_ahead`](graftage_core::matrix::Matrix::step_ahead) of x, and of y if given, along a d of kind
/// Float or BFloat16, except for matrices whose flag is false. It rounds like core. Returns `true` if it was done.
pub fn step_ahead(
    x: &Tensor,
    y: Option<&Tensor>,
    d: &Tensor,
    flags: Option<&Tensor>,
    gain: f32,
    (ahead, before): (f32, f32),
) -> bool {
    let narrow = d.kind() == Kind::BFloat16;
    let kind = if narrow { Kind::BFloat16 } else { Kind::Float };
    let fits = |stack: &Stack| y.is_none_or(|y| stack.fits(y, Kind::Float)) && stack.fits(d, kind);
    let Some((kernels, stack)) = Stack::of(x, flags).filter(|(_, stack)| fits(stack)) else { return false };
    let (x, y, d, flags) = (x.data_ptr(), pointer(y), d.data_ptr(), pointer(flags));
    let (narrow, numbers) = (c_int::from(narrow), stack.numbers);
    let arguments = [
        argument(&x),
        argument(&y),
        argument(&d),
        argument(&narrow),
        argument(&flags),
        argument(&gain),
        argument(&ahead),
        argument(&before),
        argument(&numbers),
    ];
    kernels.launch(kernels.step_ahead, stack.blocks(), stack.matrices, arguments);
    true
}

/// Returns each matrix divided by its 2-norm, in this kind, Float or BFloat16; zeros stay zeros. `None` if it was not
/// done.
pub fn unit(s: &Tensor, kind: Kind) -> Option<Tensor> {
    // With another kind taken for Float, the kernel would write out of bounds.
    let (kernels, stack) = Stack::of(s, None).filter(|_| matches!(kind, Kind::Float | Kind::BFloat16))?;
    // Enough blocks to keep the device busy, but few enough that each block of `unit` can add up their sums.
    let most = (1024 / stack.matrices).clamp(16, THREADS);
    let parts = ((stack.numbers + 16 * THREADS - 1) / (16 * THREADS)).min(most);
    let sums = Tensor::empty([stack.matrices, parts], (Kind::Double, s.device()));
    let unit = Tensor::empty(s.size(), (kind, s.device()));
    let (s, sum, out) = (s.data_ptr(), sums.data_ptr(), unit.data_ptr());
    let (narrow, count, numbers) = (c_int::from(kind == Kind::BFloat16), parts as c_int, stack.numbers);
    kernels.launch(kernels.squares, parts, stack.matrices, [argument(&s), argument(&sum), argument(&numbers)]);
    let arguments =
        [argument(&s), argument(&sum), argument(&count), argument(&out), argument(&narrow), argument(&numbers)];
    kernels.launch(kernels.unit, stack.blocks(), stack.matrices, arguments);
    Some(unit)
}

/// A contiguous stack [.., m, n] of kind Float on a CUDA device.
struct Stack {
    device: Device,
    matrices: i64,
    /// Number of elements of one matrix.
    numbers: i64,
}

impl Stack {
    /// Returns the stack of a tensor and the kernels of its device; `None` if the kernels cannot work on the tensor or
    /// its flags.
    fn of(tensor: &Tensor, flags: Option<&Tensor>) -> Option<(&'static Kernels, Self)> {
        let Device::Cuda(index) = tensor.device() else { return None };
        let numbers = tensor.size().iter().rev().take(2).product::<i64>();
        let matrices = (tensor.numel() as i64).checked_div(numbers)?;
        let stack = Self { device: tensor.device(), matrices, numbers };
        let fits = stack.fits(tensor, Kind::Float)
            && flags.is_none_or(|flags| {
                (flags.device(), flags.kind(), flags.numel() as i64) == (stack.device, Kind::Bool, matrices)
                    && flags.is_contiguous()
            });
        Some((Kernels::on(index)?, stack)).filter(|_| fits && (1..=MATRICES).contains(&matrices))
    }

    /// Returns whether `tensor` is contiguous and has this kind, device and element count.
    fn fits(&self, tensor: &Tensor, kind: Kind) -> bool {
        (tensor.device(), tensor.kind(), tensor.numel() as i64) == (self.device, kind, self.matrices * self.numbers)
            && tensor.is_contiguous()
    }

    /// Returns the number of blocks that share one matrix.
    fn blocks(&self) -> i64 {
        (self.numbers + THREADS * EACH - 1) / (THREADS * EACH)
    }
}

/// Returns the address of a tensor's numbers; null if there is no tensor.
fn pointer(tensor: Option<&Tensor>) -> *mut c_void {
    tensor.map_or(null_mut(), Tensor::data_ptr)
}

fn argument<T>(value: &T) -> *mut c_void {
    from_ref(value).cast_mut().cast()
}

/// Handle of CUDA's driver: a context, a module or a function.
#[derive(Clone, Copy, Debug)]
struct Handle(*mut c_void);

#[allow(unsafe_code)]
// SAFETY: the driver accepts a handle from any thread.
unsafe impl Send for Handle {}
#[allow(unsafe_code)]
// SAFETY: the driver accepts a handle from several threads at the same time.
unsafe impl Sync for Handle {}

/// Status of a driver call; 0 on success.
type Status = c_int;
type PushContext = unsafe extern "C" fn(*mut c_void) -> Status;
type PopContext = unsafe extern "C" fn(*mut *mut c_void) -> Status;
type Launch = unsafe extern "C" fn(
    *mut c_void,
    c_uint,
    c_uint,
    c_uint,
    c_uint,
    c_uint,
    c_uint,
    c_uint,
    *mut c_void,
    *mut *mut c_void,
    *mut *mut c_void,
) -> Status;

/// Compiled kernels of one device.
#[derive(Debug)]
struct Kernels {
    context: Handle,
    push: PushContext,
    pop: PopContext,
    launch: Launch,
    combine: Handle,
    step_ahead: Handle,
    squares: Handle,
    unit: Handle,
}

impl Kernels {
    /// Returns the kernels of a device; compiles them on first use.
    fn on(device: usize) -> Option<&'static Self> {
        static COMPILED: [OnceLock<Option<Kernels>>; DEVICES] = [const { OnceLock::new() }; DEVICES];
        COMPILED.get(device)?.get_or_init(|| Self::compile(device)).as_ref()
    }

    #[allow(unsafe_code)]
    fn compile(device: usize) -> Option<Self> {
        // SAFETY: the library is a part of the libtorch that this program runs on. It needs both the compiler and the
        // driver, so their functions are found in it. It is never unloaded. The types are those of cuda.h and nvrtc.h,
        // which no version has changed. Every pointer refers to something that lives until the call returns.
        unsafe {
            let library: &'static Library = Box::leak(Box::new(Library::new(library_filename("caffe2_nvrtc")).ok()?));
            let mut ordinal = 0;
            let get: unsafe extern "C" fn(*mut c_int, c_int) -> Status = symbol(library, c"cuDeviceGet")?;
            done(get(&mut ordinal, device as c_int))?;
            let attribute: unsafe extern "C" fn(*mut c_int, c_int, c_int) -> Status =
                symbol(library, c"cuDeviceGetAttribute")?;
            let capability = |which| {
                let mut value = 0;
                done(attribute(&mut value, which, ordinal)).map(|()| value)
            };
            // Attributes 75 and 76: major and minor number of the compute capability.
            let image = image(library, capability(75)?, capability(76)?)?;

            let mut context = null_mut();
            let retain: unsafe extern "C" fn(*mut *mut c_void, c_int) -> Status =
                symbol(library, c"cuDevicePrimaryCtxRetain")?;
            done(retain(&mut context, ordinal))?;
            let push: PushContext = symbol(library, c"cuCtxPushCurrent_v2")?;
            let pop: PopContext = symbol(library, c"cuCtxPopCurrent_v2")?;
            let load: unsafe extern "C" fn(*mut *mut c_void, *const c_void) -> Status =
                symbol(library, c"cuModuleLoadData")?;
            let function: unsafe extern "C" fn(*mut *mut c_void, *mut c_void, *const c_char) -> Status =
                symbol(library, c"cuModuleGetFunction")?;
            let launch: Launch = symbol(library, c"cuLaunchKernel")?;
            done(push(context))?;
            let mut module = null_mut();
            let loaded = done(load(&mut module, image.as_ptr().cast()));
            let kernel = |name: &CStr| {
                let mut handle = null_mut();
                done(function(&mut handle, module, name.as_ptr())).map(|()| Handle(handle))
            };
            let kernels = loaded.and_then(|()| {
                Some(Self {
                    context: Handle(context),
                    push,
                    pop,
                    launch,
                    combine: kernel(c"combine")?,
                    step_ahead: kernel(c"step_ahead")?,
                    squares: kernel(c"squares")?,
                    unit: kernel(c"unit")?,
                })
            });
            done(pop(&mut null_mut()))?;
            kernels
        }
    }

    /// Launches a kernel on the stream of libtorch's operations, after everything that was queued before.
    #[allow(unsafe_code)]
    fn launch<const N: usize>(&self, kernel: Handle, blocks: i64, matrices: i64, mut arguments: [*mut c_void; N]) {
        let (blocks, matrices, threads) = (blocks as c_uint, matrices as c_uint, THREADS as c_uint);
        // SAFETY: the arguments match the kernel in number, order and type. The memory that they point to was checked
        // to be as long as the kernel expects. libtorch does not hand memory of this stream to another user before the
        // kernel has run.
        let status = unsafe {
            let pushed = (self.push)(self.context.0);
            let of_kernel = arguments.as_mut_ptr();
            let status =
                (self.launch)(kernel.0, blocks, matrices, 1, threads, 1, 1, 0, null_mut(), of_kernel, null_mut());
            (self.pop)(&mut null_mut());
            if pushed == 0 { status } else { pushed }
        };
        assert_eq!(status, 0, "the CUDA driver failed to launch a kernel, with this error number");
    }
}

fn done(status: Status) -> Option<()> {
    (status == 0).then_some(())
}

/// Loads a function of type `T`.
///
/// # Safety
/// `T` must be a function pointer of the function's type.
#[allow(unsafe_code)]
unsafe fn symbol<T: Copy>(library: &Library, name: &CStr) -> Option<T> {
    // SAFETY: upheld by the caller.
    unsafe { library.get::<T>(name.to_bytes_with_nul()).ok().map(|symbol| *symbol) }
}

/// Compiles the kernels to machine code for a compute capability.
///
/// # Safety
/// The library must have the functions of nvrtc.h.
#[allow(unsafe_code)]
unsafe fn image(library: &Library, major: c_int, minor: c_int) -> Option<Vec<u8>> {
    type Strings = *const *const c_char;
    // SAFETY: the caller guarantees the library's functions. Every pointer refers to something that lives until the
    // call returns, and the buffer has the length that the compiler reports.
    unsafe {
        let create: unsafe extern "C" fn(
            *mut *mut c_void,
            *const c_char,
            *const c_char,
            c_int,
            Strings,
            Strings,
        ) -> Status = symbol(library, c"nvrtcCreateProgram")?;
        let compile: unsafe extern "C" fn(*mut c_void, c_int, Strings) -> Status =
            symbol(library, c"nvrtcCompileProgram")?;
        let size: unsafe extern "C" fn(*mut c_void, *mut usize) -> Status = symbol(library, c"nvrtcGetCUBINSize")?;
        let write: unsafe extern "C" fn(*mut c_void, *mut c_char) -> Status = symbol(library, c"nvrtcGetCUBIN")?;
        let destroy: unsafe extern "C" fn(*mut *mut c_void) -> Status = symbol(library, c"nvrtcDestroyProgram")?;

        let mut program = null_mut();
        let source = CString::new(SOURCE).ok()?;
        done(create(&mut program, source.as_ptr(), c"kernels.cu".as_ptr(), 0, null(), null()))?;
        let architecture = CString::new(format!("--gpu-architecture=sm_{major}{minor}")).ok()?;
        let options = [architecture.as_ptr(), c"--fmad=false".as_ptr()];
        let mut length = 0;
        let mut image = Vec::new();
        let mut written = done(compile(program, options.len() as c_int, options.as_ptr()));
        written = written.and_then(|()| done(size(program, &mut length)));
        written = written.and_then(|()| {
            image.resize(length, 0);
            done(write(program, image.as_mut_ptr().cast()))
        });
        destroy(&mut program);
        written.map(|()| image)
    }
}
