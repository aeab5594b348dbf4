//! Benchmark of core on the emulated board. Counts the instructions of core's kernels, directions and training steps,
//! and the instructions and bytes of a device with four networks. Writes one line per result to its link, which `cargo
//! xtask bench core` reads.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("this is firmware: run it with `cargo xtask bench core`");
    std::process::exit(1);
}

#[cfg(target_os = "none")]
mod stack;

#[cfg(target_os = "none")]
mod bare {
    use crate::stack;
    use core::fmt::Display;
    use core::hint::black_box;
    use embedded_io::Write;
    use graftage_core::adapt::{Recipe, Ring, Slice};
    use graftage_core::arithmetic::Functions;
    use graftage_core::chain;
    use graftage_core::matrix::{Slab, product, product_scratch};
    use graftage_core::network::{Class, Dense, Fixed, Goal, Layer, Relu, Step, Target, Weight, initialise};
    use graftage_core::norm::{Norm, with_workspace, workspace};
    use graftage_core::polar::Quintics;
    use graftage_core::random::Generator;
    use graftage_core::scion::{Geometry, Role, Rule};
    use graftage_core::session::Session;
    use graftage_firmware::board::{Board, Clock, Parts, Selected};
    use graftage_firmware::learner::{Event, Learn, Learner};
    use graftage_link::Memory;

    /// Counter of instructions that writes its results to the link.
    struct Bench {
        link: <Selected as Board>::Link,
        clock: <Selected as Board>::Clock,
        written: bool,
    }

    impl Bench {
        fn count(&mut self, name: impl Display, work: impl FnOnce()) {
            let instructions = self.instructions(work);
            self.write(instructions, "instructions", name);
        }

        fn instructions(&mut self, work: impl FnOnce()) -> u64 {
            let start = self.clock.now();
            work();
            let ticks = self.clock.now().wrapping_sub(start);
            // The emulator gives each instruction 32 ns (`-icount shift=5`) and a tick is 40 ns, so the result is at
            // most two off.
            u64::from(ticks) * 40 / 32
        }

        fn write(&mut self, number: u64, unit: &str, name: impl Display) {
            self.written &= writeln!(self.link, "{number} {unit} {name}").is_ok();
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
        let mut direction = |name: &dyn Display, (m, n): (usize, usize), norm: Norm, quintics| {
            fill(memory);
            let Some(s) = Slab::new(m, n, &mut *memory) else { return };
            with_workspace((m, n), scratch, |work| {
                bench.count(format_args!("direction {name} {m}×{n}"), || {
                    norm.direction(black_box(&s), quintics, work);
                });
            });
        };
        for quintics in Quintics::ALL {
            for shape in [(64, 64), (32, 64), (32, 128)] {
                direction(&format_args!("{quintics:?}"), shape, Norm::Spectral, quintics);
            }
        }
        for norm in [Norm::Sign, Norm::Column, Norm::Row, Norm::Rms] {
            direction(&format_args!("{norm:?}"), (64, 64), norm, Quintics::DEFAULT);
        }
    }

    const NORMS: [(&str, Norm); 2] = [("sign", Norm::Sign), ("spectral", Norm::Spectral)];

    /// Initialises a network and sets the norm of its weights.
    fn prepare<N: Layer>(network: &mut N, norm: Norm, scratch: &mut [f32]) {
        initialise(network, &mut Generator::new(2, 1), scratch);
        network.parameters(&mut |parameter| {
            if parameter.role == Role::Weights {
                *parameter.geometry = Geometry { norm, radius: 3.0 };
            }
        });
    }

    fn training<N: Fixed>(bench: &mut Bench, name: &str, network: &mut N, scratch: &mut [f32]) {
        for (measured, norm) in NORMS {
            prepare(network, norm, scratch);
            let mut input = [0.0; 128];
            fill(&mut input);
            let input = black_box(input.get(..N::INPUTS).unwrap_or(&[]));
            for batch in [1, 8] {
                // The first step has no momentum; the second is like all later ones.
                for t in 1..=2 {
                    let rule = black_box(Rule::PLAIN);
                    let mut step = || {
                        let mut step = Step::begin(&rule, Functions::Libm, None, t, batch);
                        for label in 0..batch {
                            let _ = step.add(network, input, Target::Class(label % 6), scratch);
                        }
                        let _ = black_box(step.finish(network, &rule, &[], scratch));
                    };
                    match t {
                        1 => step(),
                        _ => bench.count(format_args!("step {name} {measured} batch {batch}"), step),
                    }
                }
            }
        }
    }

    /// Measures the instructions that the pull to the start adds to a step, and the cap to a sample that it caps.
    fn added(bench: &mut Bench, network: &mut Second, scratch: &mut [f32]) {
        static START: [[u8; 4]; Second::WEIGHTS] = [[0; 4]; Second::WEIGHTS];
        prepare(network, Norm::Spectral, scratch);
        let [pulled, free] = [Recipe::DEFAULT, Recipe::FREE].map(|recipe| {
            let rule = black_box(recipe.rule);
            bench.instructions(|| network.advance(0..usize::MAX, &rule, 2, black_box(&START), scratch))
        });
        bench.write(pulled.saturating_sub(free), "instructions", "pull of a step 64-32-10");
        let (mut logits, mut errors) = ([0.0; 10], [0.0; 10]);
        fill(&mut logits);
        let [capped, whole] = [0.35, f32::INFINITY].map(|cap| {
            let weight = black_box(Weight { share: 1.0, cap });
            bench.instructions(|| {
                black_box(Class(1).loss(Functions::Libm, black_box(&logits), weight, black_box(&mut errors)));
            })
        });
        bench.write(capped.saturating_sub(whole), "instructions", "cap of a sample of 10 classes");
    }

    /// Number of samples that the default recipe keeps in the replay buffer.
    const REPLAY: usize = Recipe::DEFAULT.replay as usize;
    /// Sessions of a network; nothing is held out.
    type Sessions<N, const I: usize, const S: usize, const W: usize> =
        Session<'static, N, Ring<I, REPLAY>, [f32; S], [f32; W], Ring<I, 1>>;

    /// Measures a network on a device with the default recipe: a prediction, a labelled sample learnt at once, one of
    /// its steps with its digest, the longest of its slices, the stack below its calls, and the RAM.
    fn device<N: Fixed, const I: usize, const S: usize, const W: usize>(
        bench: &mut Bench,
        name: &str,
        session: &mut Sessions<N, I, S, W>,
        start: &'static [[u8; 4]],
        scratch: &mut [f32],
    ) {
        session.set_start(start);
        let mut input = [0.0; I];
        fill(&mut input);
        let input = black_box(&input);
        for (measured, norm) in NORMS {
            prepare(session.network_mut(), norm, scratch);
            let mut learnt = session.start(Recipe::DEFAULT).is_ok();
            // The first step has no momentum; the second sample is like all later ones.
            learnt &= session.learn(input, 0, |_| ()).is_ok();
            bench.count(format_args!("learn a sample {name} {measured}"), || {
                learnt &= black_box(session.learn(input, 1, |_| ())).is_ok();
            });
            let mut longest = bench.instructions(|| learnt &= black_box(session.begin(input, 2)).is_ok());
            let (mut whole, mut step, mut slice) = (0, 0, Slice::Part);
            while slice != Slice::Idle {
                let instructions = bench.instructions(|| slice = black_box(session.advance()));
                (step, longest) = (step + instructions, longest.max(instructions));
                if let Slice::Step(_) = slice {
                    // Keep the last step: the first one has begun with the sample.
                    (whole, step) = (step, 0);
                }
            }
            bench.write(whole, "instructions", format_args!("learn a step {name} {measured}"));
            bench.write(longest, "instructions", format_args!("longest slice {name} {measured}"));
            let mut deepest = stack::depth(&mut || learnt &= session.learn(input, 3, |_| ()).is_ok());
            deepest = deepest.max(stack::depth(&mut || learnt &= session.predict(input).is_ok()));
            deepest = deepest.max(stack::depth(&mut || _ = black_box(session.end())));
            bench.write(deepest.into(), "bytes", format_args!("stack {name} {measured}"));
            bench.written &= learnt;
        }
        bench.count(format_args!("predict {name}"), || _ = black_box(session.predict(input)));
        let Memory { weights, query_points, momenta, in_use, replay, scratch, held_out, link } =
            Learner::<'_, '_, Sessions<N, I, S, W>, (), fn(Event)>::MEMORY;
        for (part, bytes) in [
            ("weights", weights),
            ("query points", query_points),
            ("momenta", momenta),
            ("weights in use", in_use),
            ("replay buffer", replay),
            ("scratch", scratch),
            ("all else", held_out + link),
            ("in all", size_of::<Sessions<N, I, S, W>>() as u32),
        ] {
            bench.write(bytes.into(), "bytes", format_args!("RAM {name} {part}"));
        }
    }

    /// Places the sessions of a network in static memory and measures them.
    macro_rules! device {
        ($bench:expr, $scratch:expr, $name:literal, $network:ty) => {{
            type N = $network;
            static mut SESSIONS: Sessions<N, { N::INPUTS }, { N::SCRATCH }, { N::WEIGHTS }> =
                Session::new(N::ZERO, Ring::new(), [0.0; N::SCRATCH], [0.0; N::WEIGHTS], Ring::new());
            const { assert!(N::WORKSPACE <= WORKSPACE) }
            static START: [[u8; 4]; N::WEIGHTS] = [[0; 4]; N::WEIGHTS];
            let sessions = &raw mut SESSIONS;
            // SAFETY: this is reached once, and nothing else names the static.
            device($bench, $name, unsafe { &mut *sessions }, &START, $scratch);
        }};
    }

    /// Length of a workspace that suffices for every direction and network here.
    const WORKSPACE: usize = Spoken::WORKSPACE;
    const _: () = assert!(workspace(64, 64) <= WORKSPACE);

    type First = chain![Dense<128, 32>, Relu<32>, Dense<32, 6>];
    type Second = chain![Dense<64, 32>, Relu<32>, Dense<32, 10>];
    type Spoken = chain![Dense<320, 32>, Relu<32>, Dense<32, 10>];

    #[cortex_m_rt::entry]
    fn main() -> ! {
        static mut ARRAYS: [[f32; LARGEST]; 3] = [[0.0; LARGEST]; 3];
        static mut PACKED: [f32; SCRATCH] = [0.0; SCRATCH];
        static mut WORK: [f32; WORKSPACE] = [0.0; WORKSPACE];
        static mut FIRST: First = First::ZERO;
        static mut SECOND: Second = Second::ZERO;
        let Some(Parts { link, clock, .. }) = Selected::take() else { Selected::end(false) };
        let mut bench = Bench { link, clock, written: true };
        products(&mut bench, ARRAYS, PACKED);
        directions(&mut bench, ARRAYS.as_flattened_mut(), WORK);
        training(&mut bench, "128-32-6", FIRST, WORK);
        training(&mut bench, "64-32-10", SECOND, WORK);
        added(&mut bench, SECOND, WORK);
        // Networks for digits, an infrared array, activities and spoken digits.
        device!(&mut bench, WORK, "64-32-10", Second);
        device!(&mut bench, WORK, "64-16-4", chain![Dense<64, 16>, Relu<16>, Dense<16, 4>]);
        device!(&mut bench, WORK, "43-32-6", chain![Dense<43, 32>, Relu<32>, Dense<32, 6>]);
        device!(&mut bench, WORK, "320-32-10", Spoken);
        let Bench { mut link, written, .. } = bench;
        let ended = writeln!(link, "end of bench").is_ok() && link.flush().is_ok();
        Selected::end(written && ended)
    }
}
