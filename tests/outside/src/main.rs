//! Device that learns beside its sensor and resumes from its saved state after a power cut.
#![no_std]
#![no_main]

use core::fmt::Display;
use cortex_m::peripheral::SCB;
use graftage_firmware::learner::{Event, Learn};
use graftage_firmware::store::Store;
use my_device::flash::{self, Flash};
use my_device::sensor::{Mounting, sample};
use my_device::{Device, IMAGE, SAVE_EVERY, SESSIONS};
use semihosting::{eprintln, print, println, process};

/// Number of labelled samples given to the device.
const SAMPLES: u64 = 64;
/// Number of samples before the only power cut.
const CUT: u64 = 29;

#[cortex_m_rt::entry]
fn main() -> ! {
    let store = Flash::take().and_then(|flash| Store::new(flash, 0..flash::SIZE as u32).ok());
    let mut device = or_end(Device::start(SESSIONS.take(), IMAGE, SAVE_EVERY, store, log));
    match or_end(device.resume()) {
        None => print!("from the factory"),
        Some(generation) => print!("from generation {generation}"),
    }
    tell(&mut device);
    let resumed = device.status().saved.is_some();
    while device.counts().taken < SAMPLES {
        let number = device.counts().taken;
        if number == CUT && !resumed {
            println!("power cut after {CUT} samples");
            SCB::sys_reset();
        }
        let (bands, state) = sample(number, Mounting::Field);
        or_end(device.learn(&bands, state));
    }
    // The new weights are in use from here on if the held-out samples confirm them.
    let committed = device.end().verdict.committed;
    print!("{}", if committed { "committed" } else { "rolled back" });
    tell(&mut device);
    process::exit(0)
}

/// Prints the state of the device and the number of correct predictions for a hundred other samples.
fn tell(device: &mut Device) {
    let others = (1000..1100).map(|number| sample(number, Mounting::Field));
    let right = others.filter(|(bands, state)| or_end(device.predict(bands)).class == *state).count();
    println!(": {} samples, digest {:016x}, {right} of 100 right", device.counts().taken, device.status().digest);
}

/// Prints events as they happen.
fn log(event: Event) {
    match event {
        Event::Saved(generation) => println!("saved as generation {generation}"),
        Event::NotSaved(error) => println!("not saved: {error}"),
        Event::Refused(refusal) => println!("refused: {refusal}"),
        // Samples, ends and resets are answered anyway, and without a journal nothing is noted.
        Event::Learnt(_) | Event::Ended(_) | Event::NotNoted(_) | Event::Reset | Event::NotReset(_) => {}
    }
}

/// Returns the value, or prints the error and ends the program.
fn or_end<T>(result: Result<T, impl Display>) -> T {
    result.unwrap_or_else(|why| {
        eprintln!("{why}");
        process::exit(1)
    })
}
