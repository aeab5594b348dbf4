//! What the programs of a board have in common: how they go on from what is stored, and their log.

use crate::learner::{Event, Learner};
use crate::store::Store;
use embedded_storage::nor_flash::NorFlash;
use graftage_core::adapt::Replay;
use graftage_core::network::Fixed;
use graftage_core::session::Session;

/// Goes on from the newest state in the store, where there is one. The buffer has [`Learner::saved`] bytes or more.
pub fn resume<N, R, S, W, H, F, O>(
    learner: &mut Learner<'_, Session<N, R, S, W, H>, Option<Store<F>>, O>,
    buffer: &mut [u8],
) where
    N: Fixed,
    R: Replay,
    S: AsMut<[f32]>,
    W: AsMut<[f32]>,
    H: Replay,
    F: NorFlash,
    O: FnMut(Event),
{
    let Some(store) = learner.keep() else { return defmt::info!("no store: what is learnt is lost with the power") };
    match store.load(buffer) {
        Ok(None) => defmt::info!("nothing is stored: the factory image"),
        Ok(Some((generation, length))) => match learner.resume(generation, buffer.get(..length).unwrap_or_default()) {
            Ok(()) => defmt::info!("stored state of generation {}", generation),
            Err(why) => defmt::warn!("stored state not used, but the image: {}", why),
        },
        Err(error) => defmt::error!("stored state cannot be read: {}", error),
    }
}

/// Logs what happened.
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
            defmt::info!(
                "session {}: {} of {} held-out samples right, {} before, digest {:016x}",
                outcome,
                ended.verdict.after,
                ended.verdict.held_out,
                ended.verdict.before,
                ended.digest
            );
        }
        Event::Refused(refusal) => defmt::warn!("sample refused: {}", refusal),
        Event::Saved(generation) => defmt::info!("saved as generation {}", generation),
        Event::NotSaved(error) => defmt::error!("not saved: {}", error),
    }
}
