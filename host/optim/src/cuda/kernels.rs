//! Kernels for what libtorch takes several passes over memory for: a step is as fast as memory is, where it is no product.
//!
//! They are compiled when they are first used, by the compiler that every libtorch with a CUDA part brings along. Where that
//! fails (an AMD GPU, a GPU younger than the compiler), each function here says that it has done nothing.

use libloading::{Library, library_filename};
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::ptr::{from_ref, null, null_mut};
use std::sync::OnceLock;
use tch::{Device, Kind, Tensor};

const SOURCE: &str = include_str!("kernels.cu");

/// Threads of a block.
const THREADS: i64 = 256;
/// Numbers of a thread: `EACH` of the source.
const EACH: i64 = 4;
/// The most matrices in a stack: blocks along the second axis of a grid.
const MATRICES: i64 = 65535;
/// Devices of a machine that are looked at.
const DEVICES: usize = 64;

/// s ← a·s + b·o, rounded as core's [`combine`](graftage_core::matrix::Matrix::combine), but for the matrices whose flag is
/// false; whether it was done.
pub fn combine(s: &Tensor, o: &Tensor, flags: Option<&Tensor>, a: f32, b: f32) -> bool {
    let Some((kernels, stack)) = Stack::of(s, flags).filter(|(_, stack)| stack.fits(o, Kind::Float)) else {
        return false;
    };
    let (s, o, flags, numbers) = (s.data_ptr(), o.data_ptr(), pointer(flags), stack.numbers);
    let arguments = [argument(&s), argument(&o), argument(&flags), argument(&a), argument(&b), argument(&numbers)];
    kernels.launch(kernels.combine, stack.blocks(), stack.matrices, arguments);
    true
}

/// Core's [`step_ahead`](graftage_core::matrix::Matrix::step_ahead) of x, and of y where there is one, along a d of kind Float
/// or BFloat16, but for the matrices whose flag is false; rounded as core's; whether it was done.
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

/// Each matrix by its 2-norm, in this kind, Float or BFloat16; zeros stay. `None` where it was not done.
pub fn unit(s: &Tensor, kind: Kind) -> Option<Tensor> {
    // A kernel that takes another kind for Float would write beyond its memory.
    let (kernels, stack) = Stack::of(s, None).filter(|_| matches!(kind, Kind::Float | Kind::BFloat16))?;
    // So many blocks that the device is busy, and so few that each block of `unit` can add their sums.
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

/// A stack [.., m, n] of kind Float that lies in one piece on a CUDA device.
struct Stack {
    device: Device,
    matrices: i64,
    /// Of one matrix.
    numbers: i64,
}

impl Stack {
    /// The stack of a tensor, with the kernels of its device; `None` where they can do nothing with it or its flags.
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

    /// Whether a tensor of this kind is a stack of as much.
    fn fits(&self, tensor: &Tensor, kind: Kind) -> bool {
        (tensor.device(), tensor.kind(), tensor.numel() as i64) == (self.device, kind, self.matrices * self.numbers)
            && tensor.is_contiguous()
    }

    /// Blocks that take one matrix together.
    fn blocks(&self) -> i64 {
        (self.numbers + THREADS * EACH - 1) / (THREADS * EACH)
    }
}

/// Where a tensor's numbers are; null where there is none.
fn pointer(tensor: Option<&Tensor>) -> *mut c_void {
    tensor.map_or(null_mut(), Tensor::data_ptr)
}

fn argument<T>(value: &T) -> *mut c_void {
    from_ref(value).cast_mut().cast()
}

/// Of CUDA's driver: a context, a module or a function.
#[derive(Clone, Copy, Debug)]
struct Handle(*mut c_void);

#[allow(unsafe_code)]
// SAFETY: the driver takes a handle from any thread.
unsafe impl Send for Handle {}
#[allow(unsafe_code)]
// SAFETY: the driver takes a handle from many threads at a time.
unsafe impl Sync for Handle {}

/// 0 where all went well.
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

/// The compiled kernels of one device.
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
    /// Those of a device, compiled where nobody has asked before.
    fn on(device: usize) -> Option<&'static Self> {
        static COMPILED: [OnceLock<Option<Kernels>>; DEVICES] = [const { OnceLock::new() }; DEVICES];
        COMPILED.get(device)?.get_or_init(|| Self::compile(device)).as_ref()
    }

    #[allow(unsafe_code)]
    fn compile(device: usize) -> Option<Self> {
        // SAFETY: a part of the libtorch that this program runs on, which needs both the compiler and the driver, so that
        // their functions are found in it; it is never unloaded. The types are those of cuda.h and nvrtc.h, which no
        // version has changed; every pointer is to something that lives until the call returns.
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
            // The numbers of the two halves of the compute capability.
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

    /// Asks for a kernel on the stream on which libtorch's operations run, behind all that was asked for before.
    #[allow(unsafe_code)]
    fn launch<const N: usize>(&self, kernel: Handle, blocks: i64, matrices: i64, mut arguments: [*mut c_void; N]) {
        let (blocks, matrices, threads) = (blocks as c_uint, matrices as c_uint, THREADS as c_uint);
        // SAFETY: the arguments are those of the kernel, in number, order and type; what they point to was seen to be as long
        // as the kernel takes it, and libtorch gives no memory of this stream to another before the kernel has run.
        let status = unsafe {
            let pushed = (self.push)(self.context.0);
            let of_kernel = arguments.as_mut_ptr();
            let status =
                (self.launch)(kernel.0, blocks, matrices, 1, threads, 1, 1, 0, null_mut(), of_kernel, null_mut());
            (self.pop)(&mut null_mut());
            if pushed == 0 { status } else { pushed }
        };
        assert_eq!(status, 0, "CUDA's driver refuses to launch a kernel, by the number of its error");
    }
}

fn done(status: Status) -> Option<()> {
    (status == 0).then_some(())
}

/// A function of this type.
///
/// # Safety
/// It is a pointer to a function, and of the function's type.
#[allow(unsafe_code)]
unsafe fn symbol<T: Copy>(library: &Library, name: &CStr) -> Option<T> {
    // SAFETY: as the caller promises.
    unsafe { library.get::<T>(name.to_bytes_with_nul()).ok().map(|symbol| *symbol) }
}

/// The machine code of the kernels for a compute capability.
///
/// # Safety
/// The library has the functions of nvrtc.h.
#[allow(unsafe_code)]
unsafe fn image(library: &Library, major: c_int, minor: c_int) -> Option<Vec<u8>> {
    type Strings = *const *const c_char;
    // SAFETY: as the caller promises; every pointer is to something that lives until the call returns, and the buffer is as
    // long as the compiler says.
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
