//! Summary of a board's activity in a few lines, for repeated display.

use crate::statistics::percent;
use graftage_core::session::Counts;
use graftage_link::{Hello, Status};
use std::collections::VecDeque;

/// Number of newest samples for the running share of correct predictions, and number of losses drawn.
const WINDOW: u64 = 20;
/// Number of log lines shown.
const LOG: usize = 6;
/// Width of a bar in characters.
const BAR: usize = 20;

/// Observations of a board over time.
#[derive(Debug, Default)]
pub struct Monitor {
    /// The board's most recent hello.
    hello: Option<Hello>,
    line: Line,
    /// Changes of (samples learnt, samples of these predicted correctly before), oldest first.
    scores: VecDeque<(u64, u64)>,
    losses: VecDeque<f32>,
    log: VecDeque<String>,
    /// Number of refused samples, as far as known.
    pub refused: u64,
}

/// Errors on the line, as seen by the workstation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Line {
    /// Number of frames from the board that were damaged and dropped.
    pub damaged: u32,
    /// Number of repeated requests.
    pub repeated: u32,
}

impl Monitor {
    /// Takes in the board's latest hello and the state of the line.
    pub fn see(&mut self, hello: Hello, line: Line) {
        if let Ok(status) = &hello.status {
            let score = (status.learnt, status.correct);
            if self.scores.back().is_some_and(|last| last.0 > score.0) {
                // The board was reset.
                (self.scores, self.losses) = Default::default();
            }
            if self.scores.back() != Some(&score) {
                self.scores.push_back(score);
                self.losses.extend(status.loss);
            }
            // The remaining scores span the window, or everything seen so far.
            while self.scores.get(1).is_some_and(|second| score.0 - second.0 >= WINDOW) {
                self.scores.pop_front();
            }
            while self.losses.len() > WINDOW as usize {
                self.losses.pop_front();
            }
        }
        (self.hello, self.line) = (Some(hello), line);
    }

    /// Appends lines of the board's log.
    pub fn log(&mut self, lines: Vec<String>) {
        self.log.extend(lines);
        while self.log.len() > LOG {
            self.log.pop_front();
        }
    }

    /// Number of newest samples, and the share of them that was predicted correctly.
    fn recent(&self) -> Option<(u64, f32)> {
        let ((first, was), (last, is)) = self.scores.front().copied().zip(self.scores.back().copied())?;
        (last > first).then(|| (last - first, (is - was) as f32 / (last - first) as f32))
    }

    /// Full page for a terminal, line by line.
    pub fn page(&self) -> Vec<String> {
        let Some(hello) = &self.hello else { return Vec::new() };
        let mut lines = vec![format!(
            "{}: {} inputs, {} classes, schema {:016x}",
            hello.board, hello.inputs, hello.classes, hello.schema
        )];
        let mut line = |name: &str, text: String| lines.push(format!("{name:<10} {text}"));
        match &hello.status {
            Err(error) => line("image", error.to_string()),
            Ok(status) => self.status(status, &mut line),
        }
        let Line { damaged, repeated } = self.line;
        let dropped = hello.dropped;
        line(
            "link",
            format!(
                "{dropped} frames dropped by the board, {damaged} by the workstation, {repeated} requests repeated"
            ),
        );
        lines.extend(self.log.iter().map(|said| format!("{:<10} {said}", "log")));
        lines
    }

    fn status(&self, status: &Status, line: &mut impl FnMut(&str, String)) {
        let counts = status.counts;
        let held_out = counts.taken.saturating_sub(status.learnt);
        let refused = if self.refused > 0 { format!(", {} refused", self.refused) } else { String::new() };
        line("samples", format!("{} taken: {} learnt, {held_out} held out{refused}", counts.taken, status.learnt));
        if let Some(latest) = status.latest {
            let prediction = latest.prediction;
            line("newest", format!("class {} predicted with {}", prediction.class, percent(prediction.probability)));
        }
        if status.learnt > 0 {
            let all = status.correct as f32 / status.learnt as f32;
            let recent = self.recent().map(|(count, share)| format!(", {} of the last {count}", percent(share)));
            line("correct", format!("{} {} of all{}", bar(all), percent(all), recent.unwrap_or_default()));
        }
        if let Some(loss) = status.loss {
            line("loss", format!("{loss:.4} {}", sparks(&self.losses)));
        }
        line("step", format!("{}, digest {:016x}", status.step, status.digest));
        line(
            "movement",
            match status.budget {
                Some(budget) => format!("{} {:.3} of {budget} radii", bar(status.movement / budget), status.movement),
                None => format!("{:.3} radii, no budget", status.movement),
            },
        );
        let alarms = alarms(&counts);
        line("sessions", format!("{} committed, {} rolled back{alarms}", counts.committed, counts.rolled_back));
        let newest = status.saved.map_or_else(|| "nothing".into(), |of| format!("generation {of} of the whole state"));
        let [first, second] =
            status.slots.map(|slot| slot.map_or_else(|| "empty".into(), |of| format!("generation {of}")));
        line("stored", format!("{newest}; slots: {first}, {second}"));
    }

    /// One-line summary.
    pub fn summary(&self) -> String {
        let Some(hello) = &self.hello else { return String::new() };
        let status = match &hello.status {
            Ok(status) => status,
            Err(error) => return format!("{}: {error}", hello.board),
        };
        let share =
            if status.learnt > 0 { percent(status.correct as f32 / status.learnt as f32) } else { "none".into() };
        let loss = status.loss.map_or_else(String::new, |loss| format!(", loss {loss:.4}"));
        let saved = status.saved.map_or_else(|| "nothing stored".into(), |saved| format!("generation {saved} stored"));
        let budget = status.budget.map_or_else(String::new, |budget| format!(" of {budget}"));
        format!(
            "{}: {} samples, step {}, {share} correct{loss}, movement {:.3}{budget}, {} committed, {} rolled back{}, {saved}, \
             {} frames dropped",
            hello.board,
            status.counts.taken,
            status.step,
            status.movement,
            status.counts.committed,
            status.counts.rolled_back,
            alarms(&status.counts),
            hello.dropped + self.line.damaged
        )
    }
}

/// Text about alarms, to follow other session counts.
fn alarms(counts: &Counts) -> String {
    match counts.alarms {
        0 => String::new(),
        1 => ", 1 alarm".into(),
        alarms => format!(", {alarms} alarms"),
    }
}

/// Draws a share as a bar.
fn bar(share: f32) -> String {
    let full = (share.clamp(0.0, 1.0) * BAR as f32).round() as usize;
    format!("{}{}", "█".repeat(full), "░".repeat(BAR - full))
}

/// Draws non-negative numbers as small columns; the largest has full height.
fn sparks(numbers: &VecDeque<f32>) -> String {
    let columns = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let largest = numbers.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
    let column = |number: &f32| columns[((number / largest * 7.0).round() as usize).min(7)];
    numbers.iter().map(column).collect()
}
