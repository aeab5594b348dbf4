//! A device that learns from a sensor of its own: a thermometer on the board's bus, read fifty times a second by an interrupt,
//! its readings' features, what the network makes of them, and a label by the link for the newest.
//!
//! The interrupt reads the sensor itself, on time, however long the program learns: a window of readings means something
//! only where they are evenly apart. It may, as nothing but the program stands below it: its priority is the lowest, and
//! a transaction of the program on the same bus is not interrupted. It never waits for the program; what that has no room
//! for is counted.
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
    use graftage_firmware::readings::{Readings, Source};
    use graftage_firmware::sensing::Sensing;
    use graftage_firmware::sensor::thermometer::{Address, Thermometer};
    use graftage_firmware::sensor::window::{FEATURES, Window};
    use graftage_firmware::sensor::{Fault, Sensor};

    /// The network, as `graftage graft` writes it.
    mod network {
        include!("network.rs");
    }
    use network::{HELD_OUT, Network, REPLAY};

    /// Readings a second.
    const RATE: u32 = 50;
    /// Readings that become a sample.
    const WINDOW: usize = 16;
    /// One more than the readings that the program may be behind: a seventh of a second.
    const BEHIND: usize = 8;
    /// After so many more labelled samples the state is saved.
    const SAVE_EVERY: u64 = 8;
    /// Once the journal is full, the device goes on learning and its record has a gap.
    const FULL: Full = Full::Gap;

    type Sessions = Session<
        'static,
        Network,
        Ring<{ Network::INPUTS }, REPLAY>,
        [f32; Network::SCRATCH],
        [f32; Network::WEIGHTS],
        Ring<{ Network::INPUTS }, HELD_OUT>,
    >;
    /// The link, which the flash shares to say that it is at work.
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
    /// The interrupt's own, once it is enabled.
    static mut SAMPLER: Option<(Thermometer<Bus>, Source<'static, Reading>)> = None;

    #[cortex_m_rt::exception]
    fn SysTick() {
        let sampler = &raw mut SAMPLER;
        // SAFETY: the program has left it to this interrupt, which does not interrupt itself.
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
        // SAFETY: this runs once, and nothing else names them; the interrupt, which does, is not enabled yet.
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
            while let Some((reading, missing)) = drain.get() {
                if missing > 0 {
                    defmt::warn!("{} readings dropped", missing);
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
                            // A light that fails is no reason not to learn.
                            let _ = OutputPin::set_high(&mut status);
                        }
                    }
                    Err(fault) => {
                        faults = faults.wrapping_add(1);
                        // Not each of a sensor that is not there.
                        if faults.is_power_of_two() {
                            defmt::error!("no reading, {} by now: {}", faults, defmt::Display2Format(&fault));
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

    /// Enables the interrupt.
    fn sample() {
        // SAFETY: the board has taken the core's peripherals and uses none; the timer is named here only.
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
