//! Tests of the GPU's kernels, compiled for the processor with a thread for each of theirs: core's bits, and norms in
//! f64.

use graftage_core::matrix::{Matrix, RowMajor, Slab};
use graftage_core::random::Generator;
use libloading::{Library, library_filename};
use std::ffi::{c_int, c_longlong, c_uint, c_void};
use std::ptr::null;
use std::sync::LazyLock;
use tch::{Kind, Tensor};

/// Threads per block, fewer than on a GPU because each is one of the processor's, and numbers per thread.
const THREADS: usize = 64;
const EACH: usize = 4;
/// Sizes to test, as (matrices, rows, columns): fewer numbers than a thread, a warp or a block takes, and more.
const SIZES: [(usize, usize, usize); 4] = [(1, 1, 1), (5, 3, 7), (3, 37, 29), (2, 70, 53)];

#[repr(C)]
#[derive(Clone, Copy)]
struct Grid {
    blocks: c_uint,
    matrices: c_uint,
}

type Combine = unsafe extern "C" fn(Grid, c_uint, *mut f32, *const f32, *const bool, f32, f32, c_longlong);
type StepAhead = unsafe extern "C" fn(
    Grid,
    c_uint,
    *mut f32,
    *mut f32,
    *const c_void,
    c_int,
    *const bool,
    f32,
    f32,
    f32,
    c_longlong,
);
type Unit = unsafe extern "C" fn(Grid, c_uint, *const f32, *mut f64, c_int, *mut c_void, c_int, c_longlong);

/// Returns a kernel's function of this type, from a library that `CXX` or `c++` builds once.
#[allow(unsafe_code)]
fn kernel<T: Copy>(name: &str) -> T {
    static LIBRARY: LazyLock<Library> = LazyLock::new(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(library_filename("kernels"));
        let here = env!("CARGO_MANIFEST_DIR");
        let mut compiler = std::process::Command::new(std::env::var("CXX").unwrap_or_else(|_| "c++".into()));
        compiler.args([
            "-std=c++20",
            "-O1",
            "-ffp-contract=off",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-Wno-unknown-pragmas",
        ]);
        compiler.args(["-shared", "-fPIC", "-pthread", "-I", &format!("{here}/src/cuda"), "-o"]).arg(&path);
        let output = compiler.arg(format!("{here}/tests/common/threads.cpp")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // SAFETY: the library was just compiled and does nothing when it is loaded.
        unsafe { Library::new(path).unwrap() }
    });
    // SAFETY: each test names the type that the function has in threads.cpp, and the library stays loaded.
    unsafe { *LIBRARY.get::<T>(name.as_bytes()).unwrap() }
}

type Stack = Vec<Slab<Vec<f32>>>;

fn stack((matrices, m, n): (usize, usize, usize), magnitude: f32, generator: &mut Generator) -> Stack {
    let mut matrix = || (0..m * n).map(|_| (2.0 * generator.uniform() - 1.0) * magnitude).collect();
    (0..matrices).map(|_| Slab::new(m, n, matrix()).unwrap()).collect()
}

fn numbers(stack: &Stack) -> Vec<f32> {
    stack.iter().flat_map(|matrix| matrix.elements().to_vec()).collect()
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|number| number.to_bits()).collect()
}

fn grid((matrices, m, n): (usize, usize, usize)) -> (Grid, c_uint, c_longlong) {
    let blocks = (m * n).div_ceil(THREADS * EACH);
    (Grid { blocks: blocks as c_uint, matrices: matrices as c_uint }, THREADS as c_uint, (m * n) as c_longlong)
}

/// Returns the bfloat16 bits that libtorch makes of these numbers.
fn narrowed(numbers: &[f32]) -> Vec<i16> {
    Vec::try_from(Tensor::from_slice(numbers).to_kind(Kind::BFloat16).view_dtype(Kind::Int16)).unwrap()
}

fn widened(narrow: &[i16]) -> Vec<f32> {
    Vec::try_from(Tensor::from_slice(narrow).view_dtype(Kind::BFloat16).to_kind(Kind::Float)).unwrap()
}

#[test]
#[allow(unsafe_code)]
fn a_mean_has_cores_bits_where_the_flag_is_true() {
    let combine: Combine = kernel("launch_combine");
    let mut generator = Generator::new(21, 1);
    for size in SIZES {
        let (s, o) = (stack(size, 1.0, &mut generator), stack(size, 1.0, &mut generator));
        let (grid, threads, count) = grid(size);
        for (a, b) in [(0.9, 0.1), (0.0, 1.0), (1.0, 0.25)] {
            for flags in [None, Some((0..size.0).map(|matrix| matrix % 2 == 0).collect::<Vec<_>>())] {
                let (mut found, mut expected) = (numbers(&s), s.clone());
                let mut other = numbers(&o);
                for (index, (expected, o)) in expected.iter_mut().zip(&o).enumerate() {
                    if flags.as_ref().is_none_or(|flags| flags[index]) {
                        expected.combine(a, b, o);
                    } else {
                        other[index * count as usize] = f32::NAN;
                    }
                }
                let flags = flags.as_ref().map_or(null(), |flags| flags.as_ptr());
                // SAFETY: all arrays are as long as the grid says.
                unsafe { combine(grid, threads, found.as_mut_ptr(), other.as_ptr(), flags, a, b, count) };
                assert_eq!(bits(&found), bits(&numbers(&expected)), "{size:?}, {a}, {b}");
            }
        }
    }
}

#[test]
#[allow(unsafe_code)]
fn a_step_has_cores_bits_where_the_flag_is_true() {
    let step_ahead: StepAhead = kernel("launch_step_ahead");
    let mut generator = Generator::new(22, 1);
    let steps = [(-0.02, (3.0, 0.0)), (-0.02, (3.0, 0.6)), (-0.02, (0.0, 0.6)), (1.0, (0.0, 0.0))];
    for (size, (gain, ahead)) in SIZES.into_iter().flat_map(|size| steps.map(|step| (size, step))) {
        let [x, y, d] = [0; 3].map(|_| stack(size, 1.0, &mut generator));
        let (grid, threads, count) = grid(size);
        let narrow = narrowed(&numbers(&d));
        for is_bfloat16 in [false, true] {
            let wide = if is_bfloat16 { widened(&narrow) } else { numbers(&d) };
            let d: Stack = (wide.chunks(count as usize))
                .map(|matrix| Slab::new(size.1, size.2, matrix.to_vec()).unwrap())
                .collect();
            let way = if is_bfloat16 { narrow.as_ptr().cast() } else { wide.as_ptr().cast::<c_void>() };
            let flags: Vec<_> = (0..size.0).map(|matrix| matrix % 2 == 0).collect();
            let (mut ex, mut ey) = (x.clone(), y.clone());
            for index in (0..size.0).filter(|index| flags[*index]) {
                Matrix::step_ahead(&mut ex[index], &mut ey[index], &d[index], gain, ahead);
            }
            for has_y in [true, false] {
                let (mut fx, mut fy) = (numbers(&x), numbers(&y));
                let query = if has_y { fy.as_mut_ptr() } else { std::ptr::null_mut() };
                let narrow = c_int::from(is_bfloat16);
                let (ahead, before) = ahead;
                // SAFETY: all arrays are as long as the grid says, and Y may be null.
                unsafe {
                    let (x, flags) = (fx.as_mut_ptr(), flags.as_ptr());
                    step_ahead(grid, threads, x, query, way, narrow, flags, gain, ahead, before, count);
                };
                let what = format!("{size:?}, {gain}, {ahead}, {before}, bfloat16: {is_bfloat16}");
                assert_eq!(bits(&fx), bits(&numbers(&ex)), "X, {what}");
                assert_eq!(bits(&fy), bits(&numbers(if has_y { &ey } else { &y })), "Y, {what}");
            }
        }
    }
}

#[test]
#[allow(unsafe_code)]
fn each_matrix_is_divided_by_its_norm_at_every_magnitude() {
    let unit: Unit = kernel("launch_unit");
    let mut generator = Generator::new(23, 1);
    let random = SIZES.into_iter().flat_map(|size| [1e-42, 1.0, 1e36].map(|magnitude| (size, magnitude)));
    let mut cases: Vec<_> = random.map(|(size, magnitude)| (size, stack(size, magnitude, &mut generator))).collect();
    cases.iter_mut().filter_map(|(_, matrices)| matrices.get_mut(1)).for_each(|matrix| matrix.elements_mut().fill(0.0));
    // Two matrices of norm 1 with a number halfway between two of bfloat16. The even one is below in the first matrix,
    // and above in the second.
    let tied =
        [0.5f32 + 1.0 / 512.0, 0.5 + 3.0 / 512.0].map(|tie| Slab::new(1, 2, vec![tie, (1.0 - tie * tie).sqrt()]));
    cases.push(((2, 1, 2), tied.into_iter().flatten().collect()));
    for (size, matrices) in cases {
        let s = numbers(&matrices);
        let (grid, threads, count) = grid(size);
        let expected = s.chunks(count as usize).flat_map(|matrix| {
            let norm = matrix.iter().map(|e| f64::from(*e).powi(2)).sum::<f64>().sqrt();
            matrix.iter().map(move |e| if norm > 0.0 { (f64::from(*e) / norm) as f32 } else { 0.0 })
        });
        let expected: Vec<_> = expected.collect();
        for parts in [1, 5] {
            let mut sums = vec![f64::NAN; size.0 * parts];
            let (mut wide, mut narrow) = (vec![f32::NAN; s.len()], vec![0i16; s.len()]);
            // SAFETY: all arrays are as long as the grid and the parts say.
            unsafe {
                let parts = parts as c_int;
                unit(grid, threads, s.as_ptr(), sums.as_mut_ptr(), parts, wide.as_mut_ptr().cast(), 0, count);
                unit(grid, threads, s.as_ptr(), sums.as_mut_ptr(), parts, narrow.as_mut_ptr().cast(), 1, count);
            };
            let what = format!("{size:?}, {:e}, {parts} parts", s[0]);
            for (found, expected) in wide.iter().zip(&expected) {
                // The factor and the product are rounded in f64, then once to f32.
                assert!((found - expected).abs() <= expected.abs() * f32::EPSILON, "{what}: {found:e}, {expected:e}");
            }
            assert_eq!(narrow, narrowed(&wide), "{what}");
        }
    }
}
