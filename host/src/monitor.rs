//! What a board does, as a few lines that are shown again and again.

use graftage_core::session::Counts;
use graftage_link::{Hello, Status};
use std::collections::VecDeque;

/// Samples of the running share of right predictions, and losses that are drawn.
const WINDOW: u64 = 20;
/// Lines of the board's log that are shown.
const LOG: usize = 6;
/// Letters of a bar.
const BAR: usize = 20;

/// What was seen of a board.
#[derive(Debug, Default)]
pub struct Monitor {
    /// Who it is and where it stood at last.
    hello: Option<Hello>,
    line: Line,
    /// (samples learnt, of them right before) whenever that was another, oldest first.
    scores: VecDeque<(u64, u64)>,
    losses: VecDeque<f32>,
    log: VecDeque<String>,
    /// Samples that it refused, where that is known.
    pub refused: u64,
}

/// What went wrong on the line, as the workstation sees it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Line {
    /// Frames from the board that were dropped.
    pub damaged: u32,
    /// Requests that were sent again.
    pub repeated: u32,
}

impl Monitor {
    /// Takes what a board says of itself.
    pub fn see(&mut self, hello: Hello, line: Line) {
        if let Ok(status) = &hello.status {
            let score = (status.learnt, status.correct);
            if self.scores.back().is_some_and(|last| last.0 > score.0) {
                // It was reset.
                (self.scores, self.losses) = Default::default();
            }
            if self.scores.back() != Some(&score) {
                self.scores.push_back(score);
                self.losses.extend(status.loss);
            }
            // What remains spans the window, or all that was seen.
            while self.scores.get(1).is_some_and(|second| score.0 - second.0 >= WINDOW) {
                self.scores.pop_front();
            }
            while self.losses.len() > WINDOW as usize {
                self.losses.pop_front();
            }
        }
        (self.hello, self.line) = (Some(hello), line);
    }

    /// Takes lines of its log.
    pub fn log(&mut self, lines: Vec<String>) {
        self.log.extend(lines);
        while self.log.len() > LOG {
            self.log.pop_front();
        }
    }

    /// The share of the newest samples that were predicted rightly, and how many these are.
    fn recent(&self) -> Option<(u64, f32)> {
        let ((first, was), (last, is)) = self.scores.front().copied().zip(self.scores.back().copied())?;
        (last > first).then(|| (last - first, (is - was) as f32 / (last - first) as f32))
    }

    /// All of it, for a terminal.
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
        line("link", format!("{dropped} frames dropped by the board, {damaged} here, {repeated} requests sent again"));
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
            line(
                "newest",
                format!("class {} was predicted with {}", prediction.class, percent(prediction.probability)),
            );
        }
        if status.learnt > 0 {
            let all = status.correct as f32 / status.learnt as f32;
            let recent = self.recent().map(|(count, share)| format!(", {} of the last {count}", percent(share)));
            line("right", format!("{} {} of all{}", bar(all), percent(all), recent.unwrap_or_default()));
        }
        if let Some(loss) = status.loss {
            line("loss", format!("{loss:.4} {}", sparks(&self.losses)));
        }
        line("step", format!("{}, digest {:016x}", status.step, status.digest));
        line(
            "drift",
            match status.budget {
                Some(budget) => format!("{} {:.3} of {budget} radii", bar(status.drift / budget), status.drift),
                None => format!("{:.3} radii, without a budget", status.drift),
            },
        );
        let alarms = alarms(&counts);
        line("sessions", format!("{} committed, {} rolled back{alarms}", counts.committed, counts.rolled_back));
        let newest = status.saved.map_or_else(|| "nothing".into(), |of| format!("generation {of} of the whole state"));
        let [first, second] =
            status.slots.map(|slot| slot.map_or_else(|| "empty".into(), |of| format!("generation {of}")));
        line("stored", format!("{newest}; slots: {first}, {second}"));
    }

    /// All of it, as one line.
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
            "{}: {} samples, step {}, {share} right{loss}, drift {:.3}{budget}, {} committed, {} rolled back{}, {saved}, \
             {} frames dropped",
            hello.board,
            status.counts.taken,
            status.step,
            status.drift,
            status.counts.committed,
            status.counts.rolled_back,
            alarms(&status.counts),
            hello.dropped + self.line.damaged
        )
    }
}

/// The alarms, after other counts of sessions.
fn alarms(counts: &Counts) -> String {
    match counts.alarms {
        0 => String::new(),
        1 => ", 1 alarm".into(),
        alarms => format!(", {alarms} alarms"),
    }
}

fn percent(share: f32) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// A share as a bar.
fn bar(share: f32) -> String {
    let full = (share.clamp(0.0, 1.0) * BAR as f32).round() as usize;
    format!("{}{}", "█".repeat(full), "░".repeat(BAR - full))
}

/// Numbers of at least 0 as small columns, the largest full.
fn sparks(numbers: &VecDeque<f32>) -> String {
    let columns = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let largest = numbers.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
    let column = |number: &f32| columns[((number / largest * 7.0).round() as usize).min(7)];
    numbers.iter().map(column).collect()
}
