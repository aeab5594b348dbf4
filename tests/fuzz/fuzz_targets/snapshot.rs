//! Fuzz target for snapshots: refused with every bit of the device unchanged, or restored. A restored device writes the
//! same snapshot and continues in the same bits.
#![no_main]
#![forbid(unsafe_code)]

use std::sync::LazyLock;

use graftage_core::adapt::Replay;
use graftage_core::network::Fixed;
use graftage_core::schedule::{Momentum, Schedule};
use graftage_core::scion::{Pull, Rule};
use graftage_core::snapshot::{length, restore, write};
use graftage_core::transport::Transport;
use graftage_fuzz::{Device, Input, Network, SAMPLE, learn, seal, started, unstarted, words};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

/// Bytes of a case, and the fields to correct before they are restored.
#[derive(Arbitrary, Debug)]
struct Case<'a> {
    /// Index of the valid snapshot to change.
    valid: u8,
    /// True to correct length and checksum.
    sealed: bool,
    input: Input<'a>,
}

/// Snapshots with every law of transport and every pull.
static VALID: LazyLock<[Vec<u8>; 5]> = LazyLock::new(|| {
    let schedule = Schedule::WarmupStableDecay { warmup: 3, stable: 10, decay: 15 };
    let ramp = Momentum::Ramp { from: 0.7, to: 0.9, steps: 20 };
    let power = Momentum::Power { exponent: 0.75 };
    [
        Rule { schedule, momentum: power, transport: Transport::Fixed { theta: 0.5 }, ..Rule::PLAIN },
        Rule { momentum: ramp, transport: Transport::Lag { memory: 0.5 }, ..Rule::PLAIN },
        Rule { transport: Transport::Alignment { damping: 1.5 }, ..Rule::PLAIN },
        Rule { transport: Transport::Nesterov, pull: Pull::Zero { strength: 1.0 }, ..Rule::PLAIN },
        Rule { pull: Pull::Start { strength: 1.0 }, ..Rule::PLAIN },
    ]
    .map(|rule| {
        let mut device = started(rule);
        (0..4).for_each(|_| assert!(learn(&mut device).is_some_and(|learnt| learnt.is_ok())));
        written(&mut device)
    })
});

fn written(device: &mut Device) -> Vec<u8> {
    let mut memory = [0; length(Network::WEIGHTS, Network::INPUTS, 4 + 2)];
    write(device, Network::SCHEMA, &mut memory).expect("there is memory for it").to_vec()
}

/// Snapshot of the device before it restores a case.
static BEFORE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut device = started(Rule::PLAIN);
    device.learn(&SAMPLE, 2, |_| ()).expect("it learns before it is restored");
    written(&mut device)
});

/// Returns a device restored from a valid snapshot.
fn restored(snapshot: &[u8]) -> Device<'static> {
    let mut device = unstarted();
    restore(&mut device, Network::SCHEMA, snapshot).expect("what is written is a snapshot");
    assert!(written(&mut device) == snapshot, "written and restored again");
    device
}

fuzz_target!(|case: Case| {
    let mut bytes = case.input.bytes(&VALID[usize::from(case.valid) % VALID.len()]);
    if case.sealed {
        seal(&mut bytes);
    }
    let mut device = restored(&BEFORE);
    let digest = device.adaptation().digest();
    if restore(&mut device, Network::SCHEMA, &bytes[..]).is_err() {
        assert!(
            written(&mut device) == *BEFORE && device.adaptation().digest() == digest,
            "what is refused changes nothing"
        );
        return;
    }
    let snapshot = written(&mut device);
    let length = u32::from_le_bytes([bytes[6], bytes[7], bytes[8], bytes[9]]) as usize;
    let samples = device.adaptation().replay().len() + device.held_out().len();
    let count = 4 * Network::WEIGHTS + samples * (Network::INPUTS + 1);
    assert_eq!(words(&snapshot, count), words(&bytes[..length], count), "arrays and samples, bit by bit");

    let mut again = restored(&snapshot);
    assert_eq!(again.adaptation().digest(), device.adaptation().digest());
    assert_eq!(learn(&mut again), learn(&mut device), "both go on");
    assert!(written(&mut again) == written(&mut device), "in the same bits");
});
