//! Device that learns from its own sensor, a thermometer on the board's bus. An interrupt reads it fifty times a
//! second. The program logs features of the readings and the network's prediction, and takes labels for the newest
//! sample over the link.
//!
//! The interrupt reads the sensor itself and on time, however long the program learns, because a window is meaningful
//! only if its readings are evenly spaced. This is safe: the interrupt has the lowest priority, so it preempts only the
//! program, and a transaction of the program on the same bus is not interrupted. The interrupt never waits for the
//! program; readings for which the program has no room are counted.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("this is firmware: build it for a board with `cargo xtask firmware build --board NAME`");
    std::process::exit(1);
}

#[cfg(target_os = "none")]
mod bare {
    use cortex_m::peripheral::syst::SystClkSource;
    use embedded_hal::digital::OutputPin;
    use embedded_hal::i2c::ErrorKind;
    use graftage_core::adapt::Ring;
    use graftage_core::network::Fixed;
    use graftage_core::session::Session;
    use graftage_firmware::board::{Board, Clock, Parts, Selected, image};
    use graftage_firmware::boot;
    use graftage_firmware::busy::{Line, Telling};
    use graftage_firmware::device::Device;
    use graftage_firmware::journal::{self, Full, Journal};
    use graftage_firmware::learner::{Event, Learner};
    use graftage_firmware::readings::{Readings, Received, Source};
    use graftage_firmware::sensing::Sensing;
    use graftage_firmware::sensor::thermometer::{Address, Thermometer};
    use graftage_firmware::sensor::window::{FEATURES, Window};
    use graftage_firmware::sensor::{Fault, Sensor};

    /// Network, as written by `graftage graft`.
    mod network {
        include!("network.rs");
    }
    use network::{HELD_OUT, Network, REPLAY};

    /// Number of readings per second.
    const RATE: u32 = 50;
    /// Number of readings per sample.
    const WINDOW: usize = 16;
    /// Number of readings by which the program may lag, plus one. The lag is at most a seventh of a second.
    const BEHIND: usize = 8;
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
    type Keep<'a> = Option<Journal<Flash<'a>, FEATURES, { journal::entry(FEATURES) }>>;
    type Adaptive<'a> = Learner<'a, 'static, Sessions, Keep<'a>, fn(Event)>;
    type Reading = Result<f32, Fault<ErrorKind>>;
    type Bus = <Selected as Board>::Sensors;

    static mut SESSIONS: Sessions =
        Session::new(Network::ZERO, Ring::new(), [0.0; Network::SCRATCH], [0.0; Network::WEIGHTS], Ring::new());
    static mut LINK: Device<FEATURES, { graftage_link::request(FEATURES) }> = Device::new();
    static mut READINGS: Readings<Reading, BEHIND> = Readings::new();
    /// Sensor and queue end of the interrupt, which owns them once it is enabled.
    static mut SAMPLER: Option<(Thermometer<Bus>, Source<'static, Reading>)> = None;

    #[cortex_m_rt::exception]
    fn SysTick() {
        let sampler = &raw mut SAMPLER;
        // SAFETY: the program has left this static to the interrupt, which does not interrupt itself.
        let Some((thermometer, readings)) = (unsafe { &mut *sampler }) else { return };
        match thermometer.read() {
            Ok(Some([celsius])) => readings.put(Ok(celsius)),
            Ok(None) => {}
            Err(fault) => readings.put(Err(fault)),
        }
    }

    #[cortex_m_rt::entry]
    fn main() -> ! {
        let Some(Parts { link, clock, flash, sensors, mut status }) = Selected::take() else { Selected::end(false) };
        let line = Wire::new(link, clock);
        let (sessions, device) = (&raw mut SESSIONS, &raw mut LINK);
        let (readings, sampler) = (&raw mut READINGS, &raw mut SAMPLER);
        // SAFETY: this runs once. Only the interrupt names one of these statics as well, and it is not enabled yet.
        let (sessions, device, readings) = unsafe { (&mut *sessions, &mut *device, &mut *readings) };
        let (source, mut drain) = readings.split();
        // SAFETY: as above.
        unsafe { *sampler = Some((Thermometer::new(sensors, Address::default()), source)) };
        device.rename(Selected::NAME);
        let keep: Keep = boot::keep(Telling::new(flash, &line), Adaptive::saved(REPLAY + HELD_OUT), FULL);
        let mut learner = Adaptive::start(sessions, image(), SAVE_EVERY, keep, boot::log);
        match &mut learner {
            Ok(learner) => boot::resume(learner),
            Err(error) => defmt::error!("image refused: {}", error),
        }
        let mut learner = learner.map(Sensing::<_, FEATURES>::new);
        sample();
        let start = line.clock().now();
        let (mut window, mut faults) = (Window::<1, WINDOW>::new(), 0u32);
        loop {
            while let Some(Received { reading, dropped }) = drain.get() {
                if dropped > 0 {
                    defmt::warn!("{} readings dropped", dropped);
                    window.clear();
                }
                match reading {
                    Ok(celsius) => {
                        let Some([features]) = window.push([celsius]) else { continue };
                        let (tally, [mean, ..]) = (drain.tally(), features);
                        let ticks = line.clock().now().wrapping_sub(start);
                        defmt::info!(
                            "{} °C; {} readings: {} used, {} dropped, {} faults, {} ms",
                            mean,
                            tally.put,
                            tally.got,
                            tally.dropped,
                            faults,
                            ticks / (<Selected as Board>::Clock::TICKS_PER_SECOND / 1000)
                        );
                        if let Ok(Ok(predicted)) = learner.as_mut().map(|learner| learner.sense(features)) {
                            defmt::info!("class {}, probability {}", predicted.class, predicted.probability);
                            // A failing light is no reason to stop learning.
                            let _ = OutputPin::set_high(&mut status);
                        }
                    }
                    Err(fault) => {
                        faults = faults.wrapping_add(1);
                        // Log ever fewer faults, as a missing sensor would otherwise fill the log.
                        if faults.is_power_of_two() {
                            defmt::error!("no reading, {} so far: {}", faults, defmt::Display2Format(&fault));
                        }
                        window.clear();
                    }
                }
            }
            let polled = device.poll(&mut &line, &mut learner, |error| defmt::warn!("frame dropped: {}", error));
            if polled.is_err() {
                Selected::end(false)
            }
        }
    }

    /// Starts the timer whose interrupt reads the sensor.
    fn sample() {
        // SAFETY: the board has taken the core's peripherals but uses none; the timer is named only here.
        let mut core = unsafe { cortex_m::Peripherals::steal() };
        let ticks = <Selected as Board>::Clock::TICKS_PER_SECOND / RATE;
        core.SYST.set_clock_source(SystClkSource::Core);
        core.SYST.set_reload(ticks - 1);
        core.SYST.clear_current();
        // SAFETY: no critical section depends on a priority.
        unsafe { core.SCB.set_priority(cortex_m::peripheral::scb::SystemHandler::SysTick, 0xff) };
        core.SYST.enable_interrupt();
        core.SYST.enable_counter();
    }
}
