//! The firmware that goes on learning: boots with the grafted image, answers on its link, logs by defmt.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("this is firmware: build it for a board with `cargo xtask firmware build --board NAME`");
    std::process::exit(1);
}

#[cfg(target_os = "none")]
mod bare {
    use embedded_hal::digital::OutputPin;
    use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
    use graftage_core::adapt::Ring;
    use graftage_core::network::Fixed;
    use graftage_core::session::Session;
    use graftage_firmware::board::{Board, Parts, Selected, image};
    use graftage_firmware::device::{Configuration, Device, Event};
    use graftage_firmware::store::Store;

    /// The network, as `graftage graft` writes it.
    mod network {
        include!(env!("GRAFTAGE_NETWORK"));
    }
    use network::Network;

    /// The most samples that the replay buffer can keep.
    const REPLAY: usize = 128;
    /// The most samples that can be held out.
    const HELD_OUT: usize = 32;

    const CONFIGURATION: Configuration = Configuration { name: Selected::NAME, save_every: 8 };

    type Learner = Session<
        Network,
        Ring<{ Network::INPUTS }, REPLAY>,
        [f32; Network::SCRATCH],
        [f32; Network::WEIGHTS],
        Ring<{ Network::INPUTS }, HELD_OUT>,
    >;
    type Adaptive = Device<Learner, { Network::INPUTS }, { graftage_link::request(Network::INPUTS) }>;

    /// Goes on from the newest state in the store, where there is one. Its memory is on the stack, for the time of the start.
    #[inline(never)]
    fn resume<F: NorFlash>(device: &mut Adaptive, store: &mut Store<F>) {
        let mut buffer = [0; Adaptive::saved(REPLAY + HELD_OUT)];
        match store.load(&mut buffer) {
            Ok(None) => defmt::info!("nothing is stored: the factory image"),
            Ok(Some((generation, length))) => {
                match device.resume(generation, buffer.get(..length).unwrap_or_default()) {
                    Ok(()) => defmt::info!("stored state of generation {}", generation),
                    Err(why) => defmt::warn!("stored state not used, but the image: {}", why),
                }
            }
            Err(error) => defmt::error!("stored state cannot be read: {}", defmt::Debug2Format(&error)),
        }
    }

    /// What the RAM holds, for whoever reads the ELF file: it is not loaded.
    #[used]
    #[unsafe(link_section = ".graftage")]
    static HELD: [u32; 8] = {
        let ram = Adaptive::MEMORY;
        [ram.weights, ram.query_points, ram.momenta, ram.in_use, ram.replay, ram.held_out, ram.scratch, ram.link]
    };

    static mut DEVICE: Adaptive = Device::new(Session::new(
        Network::ZERO,
        Ring::new(),
        [0.0; Network::SCRATCH],
        [0.0; Network::WEIGHTS],
        Ring::new(),
    ));

    #[cfg_attr(target_arch = "arm", cortex_m_rt::entry)]
    #[cfg_attr(target_arch = "riscv32", riscv_rt::entry)]
    fn main() -> ! {
        let Some(Parts { mut link, flash, mut status, .. }) = Selected::take() else { Selected::end(false) };
        let device = &raw mut DEVICE;
        // SAFETY: this runs once, and nothing else names it.
        let device = unsafe { &mut *device };
        let ram = Adaptive::MEMORY;
        defmt::info!(
            "RAM in bytes: weights {}, query points {}, momenta {}, in use {}, replay {}, held out {}, scratch {}, link {}",
            ram.weights,
            ram.query_points,
            ram.momenta,
            ram.in_use,
            ram.replay,
            ram.held_out,
            ram.scratch,
            ram.link
        );
        let started = device.start(CONFIGURATION, image());
        let end = flash.capacity() as u32;
        let mut store = Store::new(flash, 0..end).ok();
        match &mut store {
            Some(store) => resume(device, store),
            None => defmt::info!("no store: what is learnt is lost with the power"),
        }
        match started {
            Ok(()) => {
                let digest = device.session().adaptation().digest();
                defmt::info!("ready: {} weights, digest {:016x}", Network::WEIGHTS, digest);
                // A light that fails is no reason not to learn.
                let _ = OutputPin::set_high(&mut status);
            }
            Err(error) => defmt::error!("image refused: {}", error),
        }
        let end = device.serve(&mut link, &mut store, |event| match event {
            Event::Learnt(learnt) => {
                for report in &learnt.reports {
                    defmt::info!(
                        "step {} loss {} accuracy {}/{} digest {:016x}",
                        report.step,
                        report.outcome.loss,
                        learnt.correct,
                        learnt.learnt,
                        report.digest
                    );
                }
            }
            Event::Ended(ended) => {
                let outcome = if ended.verdict.committed { "committed" } else { "rolled back" };
                defmt::info!(
                    "session {}: {} of {} held-out samples right, {} before, digest {:016x}",
                    outcome,
                    ended.verdict.after,
                    ended.verdict.held_out,
                    ended.verdict.before,
                    ended.digest
                );
            }
            Event::Refused(refusal) => defmt::warn!("sample refused: {}", refusal),
            Event::Dropped(error) => defmt::warn!("frame dropped: {}", error),
            Event::Saved(generation) => defmt::info!("saved as generation {}", generation),
            Event::NotSaved(error) => defmt::error!("not saved: {}", defmt::Display2Format(&error)),
        });
        Selected::end(end.is_ok())
    }
}
