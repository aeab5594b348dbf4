//! Firmware that goes on learning: boots with the grafted image, answers on its link and logs by defmt.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("this is firmware: build it for a board with `cargo xtask firmware build --board NAME`");
    std::process::exit(1);
}

#[cfg(target_os = "none")]
mod bare {
    use embedded_hal::digital::OutputPin;
    use graftage_core::adapt::Ring;
    use graftage_core::network::Fixed;
    use graftage_core::session::Session;
    use graftage_firmware::board::{Board, Parts, Selected, image};
    use graftage_firmware::boot;
    use graftage_firmware::busy::{Line, Telling};
    use graftage_firmware::device::Device;
    use graftage_firmware::journal::{self, Full, Journal};
    use graftage_firmware::learner::{Event, Learner};

    /// Network, as written by `graftage graft`.
    mod network {
        include!(env!("GRAFTAGE_NETWORK"));
    }
    use network::{HELD_OUT, Network, REPLAY};

    /// Number of labelled samples between two saves.
    const SAVE_EVERY: u64 = 8;
    /// Policy for a full journal: the device goes on learning, and its record has a gap.
    const FULL: Full = Full::Gap;

    type Sessions = Session<
        'static,
        Network,
        Ring<{ Network::INPUTS }, REPLAY>,
        [f32; Network::SCRATCH],
        [f32; Network::WEIGHTS],
        Ring<{ Network::INPUTS }, HELD_OUT>,
    >;
    /// Link, through which the flash also reports that it is busy.
    type Wire = Line<<Selected as Board>::Link, <Selected as Board>::Clock>;
    type Flash<'a> = Telling<'a, <Selected as Board>::Flash, <Selected as Board>::Link, <Selected as Board>::Clock>;
    type Keep<'a> = Option<Journal<Flash<'a>, { Network::INPUTS }, { journal::entry(Network::INPUTS) }>>;
    type Adaptive<'a> = Learner<'a, 'static, Sessions, Keep<'a>, fn(Event)>;
    type Link = Device<{ Network::INPUTS }, { graftage_link::request(Network::INPUTS) }>;

    /// RAM usage, for tools that read the ELF file; not loaded.
    #[used]
    #[unsafe(link_section = ".graftage")]
    static HELD: [u32; 8] = Link::memory::<Adaptive<'static>>().sizes();

    static mut SESSIONS: Sessions =
        Session::new(Network::ZERO, Ring::new(), [0.0; Network::SCRATCH], [0.0; Network::WEIGHTS], Ring::new());
    static mut LINK: Link = Device::new();

    #[cfg_attr(target_arch = "arm", cortex_m_rt::entry)]
    #[cfg_attr(target_arch = "riscv32", riscv_rt::entry)]
    fn main() -> ! {
        let Some(Parts { link, clock, flash, mut status, .. }) = Selected::take() else { Selected::end(false) };
        let line = Wire::new(link, clock);
        let (sessions, device) = (&raw mut SESSIONS, &raw mut LINK);
        // SAFETY: this runs once, and nothing else names these statics.
        let (sessions, device) = unsafe { (&mut *sessions, &mut *device) };
        let keep: Keep = boot::keep(Telling::new(flash, &line), Adaptive::saved(REPLAY + HELD_OUT), FULL);
        let mut learner = Adaptive::start(sessions, image(), SAVE_EVERY, keep, boot::log);
        match &mut learner {
            Ok(learner) => {
                boot::resume(learner);
                let digest = learner.session().adaptation().digest();
                defmt::info!("ready: {} weights, digest {:016x}", Network::WEIGHTS, digest);
                // A failing light is no reason to stop learning.
                let _ = OutputPin::set_high(&mut status);
            }
            Err(error) => defmt::error!("image refused: {}", error),
        }
        device.rename(Selected::NAME);
        let end = device.serve(&mut &line, &mut learner, |error| defmt::warn!("frame dropped: {}", error));
        Selected::end(end.is_ok())
    }
}
