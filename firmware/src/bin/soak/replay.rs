//! Reference for the life on the board, computed on the workstation with core alone: no store and no resets, only
//! requests and sessions.
//!
//! It also checks that no parameter leaves the ball around the image's, and that none moves further in a session than
//! its movement says. As the board computes the same bits, both hold there too.

use crate::life::{
    Ask, CLASSES, Course, IMAGE, INPUTS, Line, Network, RECIPE, Sessions, UNSTARTED, ask, image, is_due,
};
use graftage_core::image::Image;
use graftage_core::matrix::{RowMajor, Slab};
use graftage_core::network::{Fixed, Layer, Parameter};
use std::process::ExitCode;

/// Factor by which a measured norm may exceed the sum of steps, for rounding.
const ROUNDING: f32 = 1.0 + 1e-4;

pub fn main() -> ExitCode {
    let arguments: Vec<u64> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let [seed, asks] = arguments[..] else {
        eprintln!("usage: soak SEED ASKS; `cargo xtask soak` runs this here and on the emulated board");
        return ExitCode::FAILURE;
    };
    match live(seed, asks) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn live(seed: u64, asks: u64) -> Result<(), String> {
    let mut memory = [0; IMAGE];
    let image = image(seed, &mut memory).ok_or("the image does not fit its memory")?;
    let image = Image::parse(image).map_err(|error| error.to_string())?;
    let mut sessions = UNSTARTED;
    image.load(Network::SCHEMA, sessions.network_mut()).map_err(|error| error.to_string())?;
    sessions.set_start(image.start());
    sessions.start(image.header.recipe).map_err(|refusal| refusal.to_string())?;
    let first: Vec<f32> = image.weights().collect();
    // Radius of the ball; the reach is its diameter.
    let ball = RECIPE.rule.reach() / 2.0;
    let (mut course, mut in_session, mut furthest) = (Course::default(), 0.0f32, 0.0f32);
    while course.asked < asks {
        let refusal = match ask(seed, course.asked) {
            Ask::Learn(sample, label) => sessions.learn(&sample, label, |_| ()).err(),
            Ask::End => {
                let (movement, before) = (sessions.adaptation().movement(), sessions.in_use().to_vec());
                in_session = in_session.max(moved(&mut sessions, &before, movement)?);
                furthest = furthest.max(moved(&mut sessions, &first, ball)?);
                sessions.end();
                None
            }
        };
        course.pass(refusal).ok_or_else(|| format!("ask {}: {refusal:?}", course.asked))?;
        if is_due(course.asked, asks) {
            let (score, digest) = (sessions.adaptation().score(), sessions.adaptation().digest());
            println!("{}", Line { course: &course, counts: sessions.counts(), score, digest });
        }
    }
    eprintln!(
        "the furthest that a matrix was from the image's: {furthest:.3} of {ball:.3} radii; moved in a session: \
         {in_session:.3}"
    );
    Ok(())
}

/// Returns the largest distance of a parameter from its values in `before`, in radii of its norm; an error if it
/// exceeds `allowed`.
fn moved(sessions: &mut Sessions, before: &[f32], allowed: f32) -> Result<f32, String> {
    let (mut before, mut furthest) = (before.to_vec(), 0.0f32);
    let mut rest = &mut before[..];
    sessions.network_mut().parameters(&mut |Parameter { state, geometry, .. }| {
        let (rows, columns) = state.x.shape();
        let (mine, others) = std::mem::take(&mut rest).split_at_mut(rows * columns);
        mine.iter_mut().zip(state.x.elements()).for_each(|(before, x)| *before = x - *before);
        rest = others;
        let mut memory = [0.0; INPUTS + CLASSES + 16];
        let norm = Slab::new(rows, columns, mine).and_then(|difference| geometry.norm.of(&difference, &mut memory));
        furthest = furthest.max(norm.unwrap_or(f32::INFINITY) / geometry.radius);
    });
    let bound = allowed * ROUNDING;
    if furthest <= bound {
        Ok(furthest)
    } else {
        Err(format!("moved by {furthest} radii, but only {bound} are allowed"))
    }
}
