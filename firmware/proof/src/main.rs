//! Program that links only if no path through an adaptation can panic: its panic handler calls a missing function.
//!
//! It is built like the firmware but is not meant to be run. It contains everything that core does on a device, from
//! the image to the end of a session, with every kind of layer, law, norm and schedule that a recipe can name. Writing
//! snapshots and answers is left out: postcard indexes its buffer for a number in a way that the compiler does not see
//! through.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("this is linked for a board, not run: `cargo xtask firmware prove`");
    std::process::exit(1);
}

#[cfg(target_os = "none")]
mod bare {
    use core::hint::black_box;
    use core::panic::PanicInfo;
    use graftage_core::adapt::Ring;
    use graftage_core::image::Image;
    use graftage_core::network::Fixed;
    use graftage_core::session::Session;
    use graftage_core::snapshot;
    use graftage_tests::every::EveryLayer as Whole;

    mod demo {
        include!("../../network.rs");
    }
    type Demo = demo::Network;
    type Learner<N, const I: usize, const S: usize, const W: usize> =
        Session<'static, N, Ring<I, 16>, [f32; S], [f32; W], Ring<I, 8>>;

    static mut DEMO: Learner<Demo, { Demo::INPUTS }, { Demo::SCRATCH }, { Demo::WEIGHTS }> =
        Session::new(Demo::ZERO, Ring::new(), [0.0; Demo::SCRATCH], [0.0; Demo::WEIGHTS], Ring::new());
    static mut WHOLE: Learner<Whole, { Whole::INPUTS }, { Whole::SCRATCH }, { Whole::WEIGHTS }> =
        Session::new(Whole::ZERO, Ring::new(), [0.0; Whole::SCRATCH], [0.0; Whole::WEIGHTS], Ring::new());
    static MEMORY: [u8; 0x1_0000] = [0; 0x1_0000];

    /// Runs everything that a device does, on input unknown to the compiler.
    fn adapt<N: Fixed, const I: usize, const S: usize, const W: usize>(
        session: &mut Learner<N, I, S, W>,
        memory: &'static [u8],
    ) {
        if let Ok(image) = Image::parse(black_box(memory)) {
            let _ = black_box(image.load(N::SCHEMA, session.network_mut()));
            session.set_start(image.start());
            let _ = black_box(session.start(image.header.recipe));
        }
        let _ = black_box(snapshot::restore(session, N::SCHEMA, black_box(memory)));
        let sample = black_box([0.0; I]);
        let sample = sample.get(..black_box(I)).unwrap_or_default();
        let _ = black_box(session.learn(sample, black_box(0), |report| _ = black_box(report)));
        let _ = black_box(session.begin(sample, black_box(0)));
        let _ = black_box(session.predict(sample));
        let _ = black_box(session.advance());
        let _ = black_box(session.end());
        let _ = black_box(session.adaptation().digest());
    }

    #[unsafe(no_mangle)]
    extern "C" fn _start() -> ! {
        let (demo, whole) = (&raw mut DEMO, &raw mut WHOLE);
        // SAFETY: this runs at most once, and nothing else names these statics.
        let (demo, whole) = unsafe { (&mut *demo, &mut *whole) };
        adapt(black_box(demo), &MEMORY);
        adapt(black_box(whole), &MEMORY);
        loop {
            core::hint::spin_loop();
        }
    }

    #[panic_handler]
    fn panic(_: &PanicInfo) -> ! {
        unsafe extern "C" {
            fn an_adaptation_can_panic() -> !;
        }
        // SAFETY: no such function exists, so this is never linked.
        unsafe { an_adaptation_can_panic() }
    }
}
