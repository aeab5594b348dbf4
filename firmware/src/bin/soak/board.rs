//! Life on the board: its own store and journal, and resets at random, some in the middle of a save.

use crate::life::{Ask, HELD_OUT, IMAGE, INPUTS, Line, RECIPE, REPLAY, Sessions, UNSTARTED, ask, image, is_due};
use crate::world::{Flash, Past, World};
use core::fmt::Display;
use cortex_m::peripheral::SCB;
use embedded_io::Write;
use graftage_core::random::Generator;
use graftage_firmware::board::{Board, Parts, Selected};
use graftage_firmware::boot;
use graftage_firmware::journal::{self, Full, Journal};
use graftage_firmware::learner::{Event, Learn, Learner};

/// Number of labelled samples between two saves.
const SAVE_EVERY: u64 = 8;
/// Average number of requests between two resets.
const RESET: u32 = 1000;

type Keep = Option<Journal<Flash, INPUTS, { journal::entry(INPUTS) }>>;
type Adaptive = Learner<'static, 'static, Sessions<'static>, Keep, fn(Event)>;

static mut SESSIONS: Sessions<'static> = UNSTARTED;
static mut MEMORY: [u8; IMAGE] = [0; IMAGE];

/// Ignores events: refusals and saves run into thousands.
fn silent(_: Event) {}

#[cortex_m_rt::entry]
fn main() -> ! {
    let Some(Parts { mut link, .. }) = Selected::take() else { Selected::end(false) };
    let (sessions, memory) = (&raw mut SESSIONS, &raw mut MEMORY);
    // SAFETY: this runs once after a reset, and nothing else names these statics.
    let (sessions, memory) = unsafe { (&mut *sessions, &mut *memory) };
    let ended = live(&mut link, sessions, memory, World::enter());
    if let Err(why) = &ended {
        let _ = writeln!(link, "{why}");
    }
    Selected::end(ended.is_ok())
}

fn live(
    link: &mut impl Write,
    sessions: &'static mut Sessions<'static>,
    memory: &'static mut [u8],
    World { given, past, chip, .. }: &'static mut World,
) -> Result<(), &'static str> {
    let image = image(given.seed, memory).ok_or("the image does not fit its memory")?;
    let (cuts, starts) = (chip.cuts, past.resets + chip.cuts);
    let mut resets = Generator::new(given.seed ^ 1, starts);
    let flash = Flash::on(chip, given.seed ^ 2, starts);
    let keep: Keep = boot::keep(flash, Adaptive::saved(REPLAY + HELD_OUT), Full::Gap);
    let mut learner = Adaptive::start(sessions, image, SAVE_EVERY, keep, silent).map_err(|_| "not started")?;
    boot::resume(&mut learner);
    let mut course = past.recall(done(&learner)).ok_or("an older state than the last one saved")?;
    while course.asked < given.asks {
        let refusal = match ask(given.seed, course.asked) {
            Ask::Learn(sample, label) => {
                // The weights in use give this prediction; correctness is checked with the adapting weights.
                let predicted = learner.predict(&sample);
                if predicted.is_ok_and(|predicted| !(0.0..=1.0).contains(&predicted.probability)) {
                    return Err("no probability");
                }
                learner.learn(&sample, label).err()
            }
            Ask::End => {
                learner.end();
                None
            }
        };
        course.pass(refusal).ok_or("refused without a fault")?;
        past.remember(done(&learner), course);
        if learner.session().adaptation().movement() > RECIPE.rule.reach() {
            return Err("beyond its reach");
        }
        if is_due(course.asked, given.asks) && course.asked > past.told {
            past.told = course.asked;
            let (score, digest) = (learner.session().adaptation().score(), learner.session().adaptation().digest());
            say(link, Line { course: &course, counts: learner.counts(), score, digest })?;
        }
        if resets.below(RESET) == 0 {
            past.resets += 1;
            SCB::sys_reset();
        }
    }
    let Past { resets, again, .. } = past;
    say(link, format_args!("{resets} resets between asks, {cuts} in mid-save; {again} asks repeated"))
}

/// Returns the number of samples and ends of sessions that the learner has completed.
fn done(learner: &Adaptive) -> u64 {
    learner.counts().taken + u64::from(learner.counts().sessions())
}

fn say(link: &mut impl Write, line: impl Display) -> Result<(), &'static str> {
    writeln!(link, "{line}").map_err(|_| "the line is closed")
}
