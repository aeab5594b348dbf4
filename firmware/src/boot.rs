//! Functions shared by the programs of a board: storage, resuming from it, and the log.

use crate::journal::{Full, Journal, Note};
use crate::learner::{Event, Learner, Sessions};
use crate::store::{Keep, Store};
use embedded_storage::nor_flash::NorFlash;
use graftage_core::session::Judged;

/// Opens a store for states of `state` bytes at the start of a flash, and a journal in the rest of the flash. If there
/// is no rest, the store takes the whole flash. Returns `None` if the flash is too small for a store.
pub fn keep<F: NorFlash, const I: usize, const B: usize>(
    flash: F,
    state: usize,
    full: Full,
) -> Option<Journal<F, I, B>> {
    let end = flash.capacity() as u32;
    let slots = end.min(Store::<F>::region(state) as u32);
    let store = Store::new(flash, 0..slots).ok();
    let journal = store.and_then(|store| Journal::new(store, slots..end, full).ok());
    match journal.as_ref().map(Journal::room) {
        None => defmt::info!("no store: what is learnt is lost at power-off"),
        Some(0) => defmt::info!("no journal: what is learnt is not recorded"),
        Some(room) => defmt::info!("journal of {} bytes", room),
    }
    journal
}

/// Resumes from the newest state in the store, if there is one, and from later entries of the journal.
pub fn resume<'i, S: Sessions<'i>, K: Keep + Note, O: FnMut(Event)>(learner: &mut Learner<'_, 'i, S, K, O>) {
    match learner.resume() {
        Ok(None) => defmt::info!("nothing stored: using the factory image"),
        Ok(Some(generation)) => defmt::info!("using stored generation {}", generation),
        Err(why) => defmt::warn!("stored state refused, using the image: {}", why),
    }
    match learner.recall() {
        0 => {}
        again => defmt::info!("replayed {} samples and ends of sessions", again),
    }
}

/// Logs an event.
pub fn log(event: Event) {
    match event {
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
            let Judged { held_out, before, after } = ended.verdict.all();
            defmt::info!(
                "session {}: {} of {} held-out samples correct, {} before, digest {:016x}",
                outcome,
                after,
                held_out,
                before,
                ended.digest
            );
            if ended.verdict.alarm {
                defmt::warn!(
                    "alarm: on its held-out samples the weights in use do no better than chance; are its labels correct?"
                );
            }
        }
        Event::Refused(refusal) => defmt::warn!("sample refused: {}", refusal),
        Event::Saved(generation) => defmt::info!("saved as generation {}", generation),
        Event::NotSaved(error) => defmt::error!("not saved: {}", error),
        Event::NotNoted(error) => defmt::error!("no longer recorded: {}", error),
        Event::Reset => defmt::info!("reset: all that was learnt is forgotten"),
        Event::NotReset(error) => defmt::error!("not reset: {}", error),
    }
}
