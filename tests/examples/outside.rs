//! Prints, line by line, the output that the program of `tests/outside` must produce on its board. Core computes it on
//! the workstation, with no store and no power cut. With the argument FILE, writes the image of that program instead.

#[path = "../outside/src/sensor.rs"]
mod sensor;

/// Network of the program in `tests/outside`.
mod network {
    include!("../outside/network.rs");
}

use anyhow::{Context, Result, ensure};
use graftage_core::adapt::{HoldOut, Recipe, Ring};
use graftage_core::image::{self, Header, Image};
use graftage_core::matrix::RowMajor;
use graftage_core::network::{Fixed, Kind, Layer, initialise};
use graftage_core::random::Generator;
use graftage_core::session::Session;
use network::{HELD_OUT, Network, REPLAY};
use sensor::{BANDS, Mounting, sample};
use std::path::Path;
use std::{env, fs};

type Sessions<'i> =
    Session<'i, Network, Ring<BANDS, REPLAY>, [f32; Network::SCRATCH], [f32; Network::WEIGHTS], Ring<BANDS, HELD_OUT>>;

/// Number of labelled samples, of samples between two saves, and of samples before the power cut, as in the program.
const SAMPLES: u64 = 64;
const SAVE_EVERY: u64 = 8;
const CUT: u64 = 29;
const SAVED: u64 = CUT / SAVE_EVERY * SAVE_EVERY;

fn main() -> Result<()> {
    match env::args().nth(1) {
        Some(file) => fs::write(&file, factory()?).context(file),
        None => expected(),
    }
}

fn unstarted<'i>() -> Sessions<'i> {
    Session::new(Network::ZERO, Ring::new(), [0.0; Network::SCRATCH], [0.0; Network::WEIGHTS], Ring::new())
}

/// Prints the output that the program must produce.
fn expected() -> Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("outside/image.grft");
    let bytes = fs::read(&file).with_context(|| file.display().to_string())?;
    let again =
        "write it anew: cargo run --release --package graftage-tests --example outside -- tests/outside/image.grft";
    let image = Image::parse(&bytes).with_context(|| format!("{}: {again}", file.display()))?;
    let mut sessions = unstarted();
    image.load(Network::SCHEMA, sessions.network_mut())?;
    sessions.set_start(image.start());
    sessions.start(image.header.recipe)?;
    println!("from the factory{}", told(&mut sessions)?);
    let mut saved = String::new();
    for number in 0..SAMPLES {
        if number == CUT {
            println!("power cut after {CUT} samples\nfrom generation {}{saved}", SAVED / SAVE_EVERY);
        }
        let (bands, state) = sample(number, Mounting::Field);
        sessions.learn(&bands, state, |_| ())?;
        let taken = number + 1;
        if taken == SAVED {
            saved = told(&mut sessions)?;
        }
        if taken.is_multiple_of(SAVE_EVERY) {
            println!("saved as generation {}", taken / SAVE_EVERY);
        }
    }
    let committed = sessions.end().committed;
    println!("saved as generation {}", SAMPLES / SAVE_EVERY + 1);
    println!("{}{}", if committed { "committed" } else { "rolled back" }, told(&mut sessions)?);
    Ok(())
}

/// Returns a report of the state, in the program's format.
fn told(sessions: &mut Sessions) -> Result<String> {
    let mut right = 0;
    for (bands, state) in (1000..1100).map(|number| sample(number, Mounting::Field)) {
        right += u32::from(sessions.predict(&bands)?.class == state);
    }
    let (taken, digest) = (sessions.counts().taken, sessions.adaptation().digest());
    Ok(format!(": {taken} samples, digest {digest:016x}, {right} of 100 right"))
}

/// Returns the image: the network after many samples of a sensor in the factory's mounting.
///
/// These samples may move the network without limit; the device stays near the result.
fn factory() -> Result<Vec<u8>> {
    let recipe = Recipe {
        replay: REPLAY as u32,
        hold_out: Some(HoldOut { every: 8, keep: HELD_OUT as u32 }),
        ..Recipe::DEFAULT
    };
    let mut sessions = unstarted();
    initialise(sessions.network_mut(), &mut Generator::new(2026, 0), &mut [0.0; Network::SCRATCH]);
    let Recipe { replay, hold_out, .. } = recipe;
    sessions.start(Recipe { replay, hold_out, ..Recipe::FREE })?;
    for (bands, state) in (5000..5400).map(|number| sample(number, Mounting::Factory)) {
        sessions.learn(&bands, state, |_| ())?;
    }
    ensure!(sessions.end().committed, "the factory's samples have made it worse");
    let (mut geometries, mut weights) = (Vec::new(), Vec::new());
    sessions.network_mut().parameters(&mut |parameter| {
        geometries.push(*parameter.geometry);
        weights.extend_from_slice(parameter.state.x.elements());
    });
    let layers =
        [Kind::Dense { inputs: 8, outputs: 16 }, Kind::Relu { width: 16 }, Kind::Dense { inputs: 16, outputs: 4 }];
    let header = Header {
        schema: Kind::schema(&layers),
        layers: layers.into_iter().collect(),
        geometries: geometries.into_iter().collect(),
        recipe,
        scale: 1.0,
        centred: false,
    };
    ensure!(header.schema == network::SCHEMA, "network.rs is of another network: its schema is {:#x}", header.schema);
    let mut memory = vec![0; 2048 + 4 * weights.len()];
    Ok(image::write(&header, weights, &mut memory).context("the image does not fit its memory")?.to_vec())
}
