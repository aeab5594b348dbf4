//! Text forms of a session's verdict.

use graftage_core::session::{Judged, Verdict};

/// Describes the verdict and its basis: all held-out samples, and each half if the halves decided and not the sum.
pub fn words(verdict: &Verdict) -> String {
    let (what, Judged { held_out, before, after }) = (outcome(verdict), verdict.all());
    let halves = halves(verdict).map_or_else(String::new, |halves| format!(" ({halves})"));
    match held_out {
        0 => format!("{what}: no held-out samples to judge it by (see --hold-out of `graftage graft`)"),
        _ => format!("{what}: {before} of {held_out} held-out samples correct before, {after} after{halves}"),
    }
}

/// Names the verdict in a word or two.
pub fn outcome(verdict: &Verdict) -> &'static str {
    if verdict.committed { "committed" } else { "rolled back" }
}

/// Describes both halves of the held-out samples if their sum contradicts the verdict.
pub fn halves(verdict: &Verdict) -> Option<String> {
    let Verdict { committed, newest, kept, .. } = verdict;
    let all = verdict.all();
    (*committed != (all.after >= all.before)).then(|| {
        let of = |half: &Judged| format!("{} of {} before, {} after", half.before, half.held_out, half.after);
        format!("its own: {}; kept from earlier sessions: {}", of(newest), of(kept))
    })
}

/// Alarm message of a session, counted from 1, if it raised an alarm.
pub fn alarm(session: u32, verdict: &Verdict) -> Option<String> {
    verdict.alarm.then(|| {
        format!(
            "session {session}: alarm: the weights in use predict its held-out samples no better than chance: its labels may be wrong, or the world may have changed"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_halves_are_named_where_they_decide() {
        let judged = |held_out, before, after| Judged { held_out, before, after };
        let verdict = |committed, newest, kept| Verdict { committed, alarm: false, newest, kept };
        let sum = verdict(true, judged(10, 8, 9), judged(10, 10, 10));
        assert_eq!(words(&sum), "committed: 18 of 20 held-out samples correct before, 19 after");
        let half = verdict(false, judged(10, 2, 9), judged(10, 9, 8));
        assert_eq!(
            words(&half),
            "rolled back: 11 of 20 held-out samples correct before, 17 after (its own: 2 of 10 before, 9 after; kept from \
             earlier sessions: 9 of 10 before, 8 after)"
        );
        assert_eq!((alarm(3, &half), alarm(3, &Verdict { alarm: true, ..half }).is_some()), (None, true));
    }
}
