//! Generated life of a board, and the lines that report it.

use core::fmt;
use graftage_core::adapt::{HoldOut, Recipe, Ring, Score};
use graftage_core::chain;
use graftage_core::error::Refusal;
use graftage_core::image::{self, Header};
use graftage_core::matrix::RowMajor;
use graftage_core::network::{Dense, Fixed, Kind, Layer, Relu, initialise};
use graftage_core::random::Generator;
use graftage_core::session::{Counts, Session};
use heapless::Vec;

pub const INPUTS: usize = 12;
pub const CLASSES: usize = 4;
const HIDDEN: usize = 16;
pub type Network = chain![Dense<INPUTS, HIDDEN>, Relu<HIDDEN>, Dense<HIDDEN, CLASSES>];

pub const REPLAY: usize = 32;
pub const HELD_OUT: usize = 16;
pub type Sessions<'i> = Session<
    'i,
    Network,
    Ring<INPUTS, REPLAY>,
    [f32; Network::SCRATCH],
    [f32; Network::WEIGHTS],
    Ring<INPUTS, HELD_OUT>,
>;

/// Sessions that were not started, all zeros.
pub const UNSTARTED: Sessions<'static> =
    Session::new(Network::ZERO, Ring::new(), [0.0; Network::SCRATCH], [0.0; Network::WEIGHTS], Ring::new());

pub const RECIPE: Recipe = Recipe {
    batch: 4,
    steps: 1,
    replay: REPLAY as u32,
    seed: 5,
    hold_out: Some(HoldOut { every: 8, keep: HELD_OUT as u32 }),
    ..Recipe::DEFAULT
};
/// Average number of requests per session.
const SESSION: u32 = 400;
/// Number of requests after which the appearance of the classes changes.
const SEASON: u64 = 50_000;
/// Size of a buffer for the image, in bytes.
pub const IMAGE: usize = 1024 + 4 * Network::WEIGHTS;

/// Writes the image with which the life begins into `memory` and returns it; `None` if it does not fit.
pub fn image(seed: u64, memory: &mut [u8]) -> Option<&[u8]> {
    let mut sessions = UNSTARTED;
    let network = sessions.network_mut();
    let mut scratch = [0.0; Network::SCRATCH];
    initialise(network, &mut Generator::new(seed, 0), &mut scratch);
    let (mut geometries, mut weights, mut filled) = (Vec::new(), [0.0; Network::WEIGHTS], 0);
    network.parameters(&mut |parameter| {
        let _ = geometries.push(*parameter.geometry);
        let elements = parameter.state.x.elements();
        weights.iter_mut().skip(filled).zip(elements).for_each(|(w, x)| *w = *x);
        filled += elements.len();
    });
    let (inputs, hidden, classes) = (INPUTS as u32, HIDDEN as u32, CLASSES as u32);
    let layers = [
        Kind::Dense { inputs, outputs: hidden },
        Kind::Relu { width: hidden },
        Kind::Dense { inputs: hidden, outputs: classes },
    ];
    let header = Header {
        schema: Kind::schema(&layers),
        layers: layers.into_iter().collect(),
        geometries,
        recipe: RECIPE,
        scale: 1.0,
        centred: false,
    };
    image::write(&header, weights, memory)
}

/// Request to the board.
pub enum Ask {
    /// Learn a sample with its label. A fault makes the sample one that is refused, or gives it another class's label.
    Learn([f32; INPUTS], u32),
    /// End the session.
    End,
}

/// Returns the n-th request, which depends only on `seed` and `n`.
pub fn ask(seed: u64, n: u64) -> Ask {
    // Even streams draw requests, odd ones the appearance of classes.
    let mut draw = Generator::new(seed, 2 * (n + 1));
    if draw.below(SESSION) == 0 {
        return Ask::End;
    }
    let mut label = draw.below(CLASSES as u32);
    let mut looks = Generator::new(seed, 2 * (n / SEASON * CLASSES as u64 + u64::from(label)) + 1);
    let mut sample = [0.0; INPUTS];
    sample.iter_mut().for_each(|e| *e = 2.0 * looks.uniform() + draw.uniform() - 1.5);
    let place = draw.below(INPUTS as u32) as usize;
    let mut put = |number: f32| sample.iter_mut().skip(place).take(1).for_each(|e| *e = number);
    match draw.below(256) {
        0 => put(f32::NAN),
        1 => put(f32::NEG_INFINITY),
        2 => label = u32::MAX,
        3 => label += CLASSES as u32,
        4 => put(1e30),
        5 => put(f32::MAX),
        // A wrong class, which is learnt.
        6..12 => label = draw.below(CLASSES as u32),
        _ => {}
    }
    Ask::Learn(sample, label)
}

/// Results of the requests so far.
#[derive(Clone, Copy, Default)]
pub struct Course {
    /// Number of requests.
    pub asked: u64,
    /// Number of samples refused because they are not finite, have no class, or overflow.
    pub refused: [u64; 3],
}

impl Course {
    /// Counts a request; `None` if it was refused for a reason that no fault causes.
    pub fn pass(&mut self, refusal: Option<Refusal>) -> Option<()> {
        self.asked += 1;
        let kind = match refusal {
            None => return Some(()),
            Some(Refusal::NotFinite { .. }) => 0,
            Some(Refusal::Label { .. }) => 1,
            Some(Refusal::Overflow) => 2,
            Some(_) => return None,
        };
        self.refused.get_mut(kind).map(|count| *count += 1)
    }
}

/// State of a life as a line, on which board and workstation must agree.
pub struct Line<'a> {
    pub course: &'a Course,
    pub counts: Counts,
    pub score: Score,
    pub digest: u64,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { course: Course { asked, refused }, counts, score: Score { learnt, correct }, digest } = self;
        let [not_finite, label, overflow] = refused;
        let Counts { taken, committed, rolled_back, .. } = counts;
        write!(
            f,
            "{asked} asked: {taken} taken, {learnt} learnt, {correct} correct; refused: {not_finite} not finite, \
             {label} without a class, {overflow} overflowing; sessions: {committed} committed, {rolled_back} rolled back; \
             digest {digest:016x}"
        )
    }
}

/// Returns whether a line is due after `asked` of `all` requests.
pub fn is_due(asked: u64, all: u64) -> bool {
    asked == all || asked.is_multiple_of((all / 20).max(1))
}
