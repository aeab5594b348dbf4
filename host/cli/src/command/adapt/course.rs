//! Sending of a stream of samples to a board.

use crate::command::monitor::Page;
use crate::console::Progress;
use graftage::board::{Board, Journal};
use graftage::data::Samples;
use graftage::error::{Error, Result};
use graftage::record::{Event, Lesson, Record, Refused, Totals};
use graftage::recorder::{Recorder, position};
use graftage::statistics::percent;
use graftage_core::error::Refusal;
use graftage_core::session::{Counts, Verdict};
use graftage_link::{Hello, Status};
use std::path::Path;
use std::time::{Duration, Instant};

/// Display during learning.
pub enum View {
    Bar(Progress),
    /// The monitor's page, and the time when it is due again.
    Page(Box<Page>, Instant),
}

/// Interval between requests for the page, so that most of the line's time is left for the stream.
const SHOWN_EVERY: Duration = Duration::from_millis(500);

impl View {
    /// Updates the display after `done` samples of the stream.
    pub fn at(&mut self, board: &mut Board, done: u64, note: impl FnOnce() -> String) -> Result<()> {
        match self {
            View::Bar(progress) => progress.at(done, note),
            View::Page(page, due) if Instant::now() >= *due => {
                page.show(board)?;
                *due = Instant::now() + SHOWN_EVERY;
            }
            View::Page(..) => {}
        }
        Ok(())
    }

    /// Shows the final state.
    fn finish(&mut self, board: &mut Board) -> Result<()> {
        if let View::Page(page, _) = self { page.show(board) } else { Ok(()) }
    }
}

/// Sample that the board refused.
pub struct RefusedSample {
    /// Number of the sample in its stream, from 1.
    pub number: usize,
    /// Reason for the refusal.
    pub why: Refusal,
}

/// Outcome of a stream so far.
#[derive(Default)]
pub struct Course {
    /// Number of samples that the board took.
    pub taken: usize,
    /// Learning curve: (samples learnt, share of them predicted correctly before they were learnt).
    pub curve: Vec<(usize, f32)>,
    /// Samples that the board refused.
    pub refused: Vec<RefusedSample>,
}

impl Course {
    /// Sends the samples after the first `skip` to a board that is at this point of the stream, and ends its session.
    /// With a recorder, it records everything that the board consumes and, at the end, its whole state, which takes
    /// time on the line.
    pub fn learn(
        &mut self,
        board: &mut Board,
        counts: Counts,
        stream: &Samples,
        skip: usize,
        mut recorder: Option<&mut Recorder>,
        view: &mut View,
    ) -> Result<Verdict> {
        let mut record = |event: Event| recorder.as_mut().map_or(Ok(()), |recorder| recorder.push(event));
        for (index, (input, label)) in stream.iter().enumerate().skip(skip) {
            match board.learn(counts.taken + self.taken as u64, input, label)? {
                Ok(learnt) => {
                    self.taken += 1;
                    record(Event::Sample(Lesson::new(input, label, &learnt)))?;
                    let share = learnt.correct as f32 / learnt.learnt as f32;
                    if !learnt.taken.held_out {
                        self.curve.push((learnt.learnt as usize, share));
                    }
                    let loss = learnt.reports.last().map_or(0.0, |report| report.outcome.loss);
                    let note = || format!("loss {loss:.3}, {} correct before learning", percent(share));
                    view.at(board, (index - skip) as u64 + 1, note)?;
                }
                Err(why) => {
                    self.refused.push(RefusedSample { number: index + 1, why });
                    if let View::Page(page, _) = view {
                        page.refused();
                    }
                    record(Event::Refused(Refused { input: input.to_vec(), label, why }))?;
                }
            }
        }
        if recorder.is_some() {
            let state = Event::State(board.state()?);
            recorder.as_mut().map_or(Ok(()), |recorder| recorder.push(state))?;
        }
        let ended = board.end(counts.sessions())?;
        if let Some(recorder) = recorder {
            recorder.push(Event::End(ended))?;
            recorder.finish()?;
        }
        view.finish(board)?;
        Ok(ended.verdict)
    }

    /// Fails if samples were refused. If a spent budget is the only reason, the error says so.
    pub fn whole(&self, stream: &Path, samples: usize) -> Result<()> {
        let Some(RefusedSample { number, why }) = self.refused.first() else { return Ok(()) };
        let what = format!(
            "the board refused {} of {samples} samples; the first is sample {number} of {}: {why}",
            self.refused.len(),
            stream.display()
        );
        match self.refused.iter().all(|sample| sample.why == Refusal::Budget) {
            true => Err(Error::BudgetSpent(what)),
            false => Err(Error::Board(what)),
        }
    }
}

/// Returns how many samples of a stream to skip: those at its start that the board took in its open session, which was
/// interrupted. If `skip` is given, it is that many, plus those after them that the board's journal shows as taken.
pub fn begun(
    board: &mut Board,
    hello: &Hello,
    status: &Status,
    (path, stream): (&Path, &Samples),
    skip: Option<usize>,
) -> Result<usize> {
    let counts = status.counts;
    let between = status.latest.is_none() && status.movement == 0.0;
    if counts.taken == 0 || (counts.sessions() > 0 && between) {
        return Ok(skip.unwrap_or(0));
    }
    // The board counts samples but does not know which they were. Its journal does.
    let kept = board.journal()?.and_then(|Journal { unit, bytes }| {
        Record::from_journal(&hello.board, hello.schema, status.image, unit, &bytes).ok()
    });
    if let Some(kept) = kept.filter(|kept| kept.totals() == Totals::from(counts)) {
        return position(kept.unended(), stream, skip)
            .map_err(|what| Error::content(path, what.replace("its session", "the board's session")));
    }
    let taken = if counts.sessions() == 0 { usize::try_from(counts.taken).ok() } else { None };
    skip.or(taken).ok_or_else(|| {
        Error::Board(
            "the board is in an unfinished session and does not know how many samples it took in it: use --skip N to continue after N samples of this stream".into(),
        )
    })
}
