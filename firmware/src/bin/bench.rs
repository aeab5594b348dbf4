//! Counts the instructions of core's kernels, directions and training steps on the emulated board, one line each on its
//! link: `cargo xtask bench core` reads them.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("this is firmware: run it with `cargo xtask bench core`");
    std::process::exit(1);
}

#[cfg(target_os = "none")]
mod bare {
    use core::fmt::Display;
    use core::hint::black_box;
    use embedded_io::Write;
    use graftage_core::arithmetic::Functions;
    use graftage_core::chain;
    use graftage_core::matrix::{Slab, product, product_scratch};
    use graftage_core::network::{Dense, Fixed, Relu, Step, Target, initialise};
    use graftage_core::norm::{Norm, with_workspace, workspace};
    use graftage_core::polar::Chain;
    use graftage_core::random::Generator;
    use graftage_core::scion::{Geometry, Role, Rule};
    use graftage_firmware::board::{Board, Clock, Parts, Selected};

    /// Counts and prints.
    struct Bench {
        link: <Selected as Board>::Link,
        clock: <Selected as Board>::Clock,
        written: bool,
    }

    impl Bench {
        fn count(&mut self, name: impl Display, work: impl FnOnce()) {
            let start = self.clock.now();
            work();
            let ticks = self.clock.now().wrapping_sub(start);
            // The emulator gives each instruction 32 ns (`-icount shift=5`), a tick is 40 ns; at most two off.
            let instructions = u64::from(ticks) * 40 / 32;
            self.written &= writeln!(self.link, "{instructions} {name}").is_ok();
        }
    }

    fn fill(memory: &mut [f32]) {
        let mut generator = Generator::new(1, 1);
        memory.iter_mut().for_each(|e| *e = 2.0 * generator.uniform() - 1.0);
    }

    const LARGEST: usize = 64 * 64;
    const SCRATCH: usize = product_scratch(64, 64);

    fn products(bench: &mut Bench, [a, b, c]: &mut [[f32; LARGEST]; 3], scratch: &mut [f32]) {
        for (m, k, n) in [(16, 16, 16), (32, 32, 32), (64, 64, 64), (64, 32, 64), (30, 50, 7)] {
            fill(a);
            fill(b);
            bench.count(format_args!("product {m}×{k}×{n}"), || {
                product((m, k, n), black_box(&*a), black_box(&*b), black_box(c), scratch);
            });
        }
    }

    fn directions(bench: &mut Bench, memory: &mut [f32], scratch: &mut [f32]) {
        let mut direction = |name: &dyn Display, (m, n): (usize, usize), norm: Norm, chain| {
            fill(memory);
            let Some(s) = Slab::new(m, n, &mut *memory) else { return };
            with_workspace((m, n), scratch, |work| {
                bench.count(format_args!("direction {name} {m}×{n}"), || {
                    norm.direction(black_box(&s), chain, work);
                });
            });
        };
        for chain in Chain::ALL {
            for shape in [(64, 64), (32, 64), (32, 128)] {
                direction(&format_args!("{chain:?}"), shape, Norm::Spectral, chain);
            }
        }
        for norm in [Norm::Sign, Norm::Column, Norm::Row, Norm::Rms] {
            direction(&format_args!("{norm:?}"), (64, 64), norm, Chain::DEFAULT);
        }
    }

    fn training<N: Fixed>(bench: &mut Bench, name: &str, network: &mut N, scratch: &mut [f32]) {
        for (measured, norm) in [("sign", Norm::Sign), ("spectral", Norm::Spectral)] {
            initialise(network, &mut Generator::new(2, 1), scratch);
            network.parameters(&mut |parameter| {
                if parameter.role == Role::Weights {
                    *parameter.geometry = Geometry { norm, radius: 3.0 };
                }
            });
            let mut input = [0.0; 128];
            fill(&mut input);
            let input = black_box(input.get(..N::INPUTS).unwrap_or(&[]));
            for batch in [1, 8] {
                // The first step knows no momentum: the second is as all others.
                for t in 1..=2 {
                    let rule = black_box(Rule::DEFAULT);
                    let mut step = || {
                        let mut step = Step::begin(&rule, Functions::Libm, t, batch);
                        for label in 0..batch {
                            let _ = step.add(network, input, Target::Class(label % 6), scratch);
                        }
                        let _ = black_box(step.finish(network, &rule, scratch));
                    };
                    match t {
                        1 => step(),
                        _ => bench.count(format_args!("step {name} {measured} batch {batch}"), step),
                    }
                }
            }
        }
    }

    type First = chain![Dense<128, 32>, Relu<32>, Dense<32, 6>];
    type Second = chain![Dense<64, 32>, Relu<32>, Dense<32, 10>];

    #[cortex_m_rt::entry]
    fn main() -> ! {
        static mut ARRAYS: [[f32; LARGEST]; 3] = [[0.0; LARGEST]; 3];
        static mut PACKED: [f32; SCRATCH] = [0.0; SCRATCH];
        static mut WORK: [f32; workspace(64, 64)] = [0.0; workspace(64, 64)];
        static mut FIRST: First = First::ZERO;
        static mut SECOND: Second = Second::ZERO;
        let Some(Parts { link, clock, .. }) = Selected::take() else { Selected::end(false) };
        let mut bench = Bench { link, clock, written: true };
        products(&mut bench, ARRAYS, PACKED);
        directions(&mut bench, ARRAYS.as_flattened_mut(), WORK);
        training(&mut bench, "128-32-6", FIRST, WORK);
        training(&mut bench, "64-32-10", SECOND, WORK);
        let Bench { mut link, written, .. } = bench;
        let ended = writeln!(link, "end of bench").is_ok() && link.flush().is_ok();
        Selected::end(written && ended)
    }
}
