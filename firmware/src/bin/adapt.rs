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
    use graftage_core::adapt::Ring;
    use graftage_core::network::Fixed;
    use graftage_firmware::board::{Board, Parts, Selected, image};
    use graftage_firmware::device::{Device, Event};

    /// The network, as `graftage graft` writes it.
    mod network {
        include!(env!("GRAFTAGE_NETWORK"));
    }
    use network::Network;

    /// The most samples that the replay buffer can keep.
    const REPLAY: usize = 128;

    type Adaptive = Device<
        Network,
        Ring<{ Network::INPUTS }, REPLAY>,
        [f32; Network::SCRATCH],
        { Network::INPUTS },
        { graftage_link::request(Network::INPUTS) },
    >;

    /// What the RAM holds, for whoever reads the ELF file: it is not loaded.
    #[used]
    #[unsafe(link_section = ".graftage")]
    static HELD: [u32; 6] = {
        let ram = Adaptive::MEMORY;
        [ram.weights, ram.query_points, ram.momenta, ram.replay, ram.scratch, ram.link]
    };

    static mut DEVICE: Adaptive = Device::new(Network::ZERO, Ring::new(), [0.0; Network::SCRATCH]);

    #[cfg_attr(target_arch = "arm", cortex_m_rt::entry)]
    #[cfg_attr(target_arch = "riscv32", riscv_rt::entry)]
    fn main() -> ! {
        let Some(Parts { mut link, mut status, .. }) = Selected::take() else { Selected::end(false) };
        let device = &raw mut DEVICE;
        // SAFETY: this runs once, and nothing else names it.
        let device = unsafe { &mut *device };
        let ram = Adaptive::MEMORY;
        defmt::info!(
            "RAM in bytes: weights {}, query points {}, momenta {}, replay {}, scratch {}, link {}",
            ram.weights,
            ram.query_points,
            ram.momenta,
            ram.replay,
            ram.scratch,
            ram.link
        );
        match device.start(Selected::NAME, image()) {
            Ok(()) => {
                defmt::info!("ready: {} weights, digest {:016x}", Network::WEIGHTS, device.adaptation().digest());
                // A light that fails is no reason not to learn.
                let _ = OutputPin::set_high(&mut status);
            }
            Err(error) => defmt::error!("image refused: {}", error),
        }
        let end = device.serve(&mut link, |event| match event {
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
            Event::Refused(refusal) => defmt::warn!("sample refused: {}", refusal),
            Event::Dropped(error) => defmt::warn!("frame dropped: {}", error),
        });
        Selected::end(end.is_ok())
    }
}
