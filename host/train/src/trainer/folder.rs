//! Folder of a training. Its files are replaced atomically.

use super::best::Search;
use super::{AVERAGE, BEST, EVENTS, Feed, METRICS, MODEL, PAGE, RESULT, STATE, Saved, Start, Trainer, events};
use crate::config::{Config, Keep};
use crate::error::{Error, Result};
use graftage::checkpoint::{About, Checkpoint, Tensor};
use graftage::data::{Dataset, Identity, Legend};
use graftage::files::{self, Written};
use graftage::model::Description;
use graftage::training::{Training, TrainingPoint};
use graftage_optim::Tensors;
use std::fs::File;
use std::io::Write;

/// Files that a finished training leaves.
const RESULTS: [&str; 5] = [MODEL, BEST, AVERAGE, RESULT, PAGE];

/// Folder of a training, and the values common to all its checkpoints.
pub(super) struct Folder<'a> {
    files: files::Folder,
    config: &'a Config,
    data: &'a Dataset,
    identity: Identity,
    /// Number of threads that compute.
    threads: usize,
    /// `metrics.jsonl`, open for appending; `None` before the first checkpoint, until which the folder's contents stay.
    lines: Option<File>,
    /// The event file, likewise.
    events: Option<File>,
    /// Events before the first checkpoint.
    first_events: Vec<u8>,
    /// Steps of the checkpoints that are kept beside the last one, ascending.
    kept: Vec<u64>,
    /// Steps of checkpoints that the next one supersedes.
    stale: Vec<u64>,
    /// Results of the training that this one resumes.
    written: Written,
}

impl<'a> Folder<'a> {
    /// Claims the folder, and reads the checkpoint if the training resumes.
    pub fn begin(config: &'a Config, data: &'a Dataset, start: Start) -> Result<(Self, Option<(Saved, Tensors)>)> {
        let files = files::Folder::open(&config.output, start.force)?;
        let name = start.at.map_or_else(|| STATE.to_owned(), name_of);
        let (path, identity) = (files.file(&name), data.identity());
        let (saved, stale) = match (path.exists(), start.resume) {
            (true, true) => {
                let (saved, state) = Saved::read(&path)?;
                saved.check(config, &identity).map_err(|what| Error::content(&path, what))?;
                // What the last checkpoint says was written is there now.
                let last = if start.at.is_some() { Saved::read(&files.file(STATE))?.0 } else { saved.clone() };
                files.own(STATE);
                last.kept.iter().for_each(|step| files.own(&name_of(*step)));
                files.claim_again(&RESULTS, &last.written)?;
                let before = |step: &u64| start.at.is_none_or(|at| *step <= at);
                let (kept, stale) = last.kept.into_iter().partition(before);
                let saved = Saved { kept, written: last.written, ..saved };
                (Some((saved, state)), stale)
            }
            (false, true) => {
                let what = match start.at {
                    None => "there is no checkpoint to resume from; start without --resume".to_owned(),
                    Some(step) => format!("there is no checkpoint of step {step}{}", others(&files, config)),
                };
                return Err(Error::content(&path, what));
            }
            (true, false) if !start.force => {
                let what =
                    "holds a training; continue it with --resume, start again with --force, or name another output";
                return Err(Error::content(&config.output, what));
            }
            (_, false) => {
                files.claim(&[STATE, METRICS, EVENTS])?;
                files.claim(&RESULTS)?;
                (None, Saved::read(&path).map_or_else(|_| Vec::new(), |(saved, _)| saved.kept))
            }
        };
        let written = saved.as_ref().map_or_else(Written::default, |(saved, _)| saved.written.clone());
        let kept = saved.as_ref().map_or_else(Vec::new, |(saved, _)| saved.kept.clone());
        let (lines, events, first_events) = (None, None, Vec::new());
        let folder =
            Self { files, config, data, identity, threads: 0, lines, events, first_events, kept, stale, written };
        Ok((folder, saved))
    }

    /// Records the number of threads that compute.
    pub fn computed_by(&mut self, threads: usize) {
        self.threads = threads;
    }

    /// Returns the result of a training that ended after `steps` steps, if all files that it leaves exist.
    pub fn result(&self, steps: u64) -> Option<Training> {
        let best = (self.config.training.keep == Keep::Best).then_some(BEST);
        let average = self.config.optimizer.average.map(|_| AVERAGE);
        let whole = [MODEL, PAGE].into_iter().chain(best).chain(average).all(|name| self.files.file(name).exists());
        let training = files::read_json::<Training>(&self.files.file(RESULT)).ok()?;
        (whole && training.steps == steps).then_some(training)
    }

    /// Resumes after a checkpoint of this step: returns the measurements up to it and drops later ones.
    pub fn resume(&mut self, step: u64) -> Result<Vec<TrainingPoint>> {
        let path = self.files.file(METRICS);
        let mut curve = Vec::new();
        if path.exists() {
            let text = files::read(&path)?;
            let lines = String::from_utf8_lossy(&text);
            // The last line may have been cut off.
            let mut points =
                lines.lines().map_while(|line| serde_json::from_str::<TrainingPoint>(line).ok()).peekable();
            if !text.is_empty() && points.peek().is_none() {
                return Err(Error::content(&path, "does not hold measurements of a training; move it away"));
            }
            curve.extend(points.take_while(|point| point.step <= step));
            self.files.own(METRICS);
        }
        let mut change = self.files.change();
        change.add(METRICS, &text(&curve)?)?;
        if self.config.training.tensorboard {
            let path = self.files.file(EVENTS);
            let mut bytes = if path.exists() { files::read(&path)? } else { events::beginning() };
            bytes.truncate(events::whole(&bytes));
            self.files.own(EVENTS);
            change.add(EVENTS, &[bytes, events::start(step)].concat())?;
        }
        change.commit()?;
        self.grow()?;
        Ok(curve)
    }

    fn grow(&mut self) -> Result<()> {
        let open = |name: &str| {
            let path = self.files.file(name);
            File::options().append(true).open(&path).map_err(Error::file(&path))
        };
        self.lines = Some(open(METRICS)?);
        self.events = self.config.training.tensorboard.then(|| open(EVENTS)).transpose()?;
        Ok(())
    }

    /// Appends a measurement. Before the first checkpoint it does nothing, because that checkpoint writes all
    /// measurements.
    pub fn add(&mut self, point: &TrainingPoint) -> Result<()> {
        let event = if self.config.training.tensorboard { events::measurement(point) } else { Vec::new() };
        if let Some(file) = &mut self.lines {
            file.write_all(line(point)?.as_bytes()).map_err(Error::file(&self.files.file(METRICS)))?;
        } else {
            self.first_events.extend(&event);
        }
        match &mut self.events {
            Some(file) => Ok(file.write_all(&event).map_err(Error::file(&self.files.file(EVENTS)))?),
            None => Ok(()),
        }
    }

    /// Writes a checkpoint. The first one replaces the folder's previous contents.
    pub fn save(&mut self, trainer: &Trainer, search: &Search, curve: &[TrainingPoint]) -> Result<()> {
        let mut change = self.files.change();
        let kept = self.checkpoint(&mut change, (trainer, search), self.written.clone())?;
        let first = self.lines.is_none();
        if first {
            if self.config.training.tensorboard {
                change.add(EVENTS, &[&events::beginning()[..], &self.first_events].concat())?;
            }
            change.add(METRICS, &text(curve)?)?;
            change.supersede(&RESULTS);
        }
        change.commit()?;
        (self.kept, self.stale) = (kept, Vec::new());
        if first { self.grow() } else { Ok(()) }
    }

    /// Adds the checkpoint of this step to a change. Returns the steps of those that are kept after it.
    fn checkpoint(
        &self,
        change: &mut files::Change,
        (trainer, search): (&Trainer, &Search),
        written: Written,
    ) -> Result<Vec<u64>> {
        let (step, most) = (trainer.step(), self.config.training.checkpoints);
        let (mut kept, mut old): (Vec<_>, Vec<_>) = self.kept.iter().partition(|kept| **kept < step);
        old.extend(&self.stale);
        let most = if most > 1 { most } else { 0 };
        kept.extend((most > 0).then_some(step));
        old.extend(kept.drain(..kept.len().saturating_sub(most)));
        let state = self.state(trainer, search, written, &kept)?;
        change.add(STATE, &state)?;
        if most > 0 {
            change.add(&name_of(step), &state)?;
        }
        let old: Vec<_> = old.into_iter().filter(|old| *old != step || most == 0).map(name_of).collect();
        change.supersede(&old.iter().map(String::as_str).collect::<Vec<_>>());
        Ok(kept)
    }

    fn state(&self, trainer: &Trainer, search: &Search, written: Written, kept: &[u64]) -> Result<Vec<u8>> {
        let (config, threads) = (self.config.clone(), self.threads);
        let (data, standing) = (Some(self.identity.clone()), search.standing.clone());
        let mut state = trainer.optimizer.state()?;
        state.extend(search.tensors());
        let kept = kept.to_vec();
        Saved { config, threads, data, standing, written, kept }.bytes(&self.files.file(STATE), &state)
    }

    /// Writes the results of a training together with its last checkpoint.
    pub fn end(
        &self,
        feed: &Feed,
        trainer: &mut Trainer,
        search: &Search,
        curve: &[TrainingPoint],
        page: impl Fn(&Training) -> String,
    ) -> Result<Training> {
        let Self { files, config, data, .. } = self;
        let about = About {
            model: Description::of(&config.model)?,
            shape: feed.shape.clone(),
            data: config.data.clone(),
            split: config.split.clone(),
            normalisation: normalisation(data),
            legend: match data {
                Dataset::Labelled(data) => data.legend.clone(),
                Dataset::Text(_) => Legend::default(),
            },
        };
        let confusion = trainer.confusion(&feed.test, &about.legend)?;
        let model = checkpoint(about.clone(), trainer.optimizer.x()?)?;
        let best = search.weights.as_ref().map(|weights| {
            let weights = weights.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).collect();
            Ok::<_, Error>(checkpoint(about.clone(), weights)?.bytes(&files.file(BEST))?)
        });
        let average = config.optimizer.average.map(|_| {
            Ok::<_, Error>(checkpoint(about.clone(), trainer.optimizer.average()?)?.bytes(&files.file(AVERAGE))?)
        });
        let point = curve.last();
        let training = Training {
            network: config.model.to_string(),
            parameters: model.weights().map(<[f32]>::len).sum(),
            optimizer: config.optimizer.method.to_string(),
            arithmetic: config.optimizer.arithmetic.to_string(),
            steps: trainer.step(),
            batch: config.training.batch,
            rule: trainer.rule(),
            schedule: config.optimizer.schedule.in_core(1).is_none().then(|| config.optimizer.schedule.to_string()),
            settings: config.optimizer.words(),
            seed: config.seed,
            samples: (feed.train.len(), feed.test.len()),
            drawn: trainer.step() * (config.training.batch * feed.unit.per_sample) as u64,
            best: search.standing.best.clone().filter(|_| config.training.keep == Keep::Best),
            stopped_early: trainer.step() < trainer.steps(),
            unit: feed.unit.name.to_owned(),
            loss: point.map_or(f32::NAN, |point| point.test_loss),
            accuracy: point.map_or(f32::NAN, |point| point.accuracy),
            groups: Some(trainer.optimizer.table()),
            curve: curve.to_vec(),
            confusion,
        };
        let (mut change, mut written) = (files.change(), Written::default());
        let mut all = vec![
            (MODEL, model.bytes(&files.file(MODEL))?),
            (RESULT, files::json(&files.file(RESULT), &training)?),
            (PAGE, page(&training).into_bytes()),
        ];
        all.extend(best.transpose()?.map(|bytes| (BEST, bytes)));
        all.extend(average.transpose()?.map(|bytes| (AVERAGE, bytes)));
        for (name, bytes) in all {
            change.add(name, &bytes)?;
            written.add(name, &bytes);
        }
        self.checkpoint(&mut change, (trainer, search), written)?;
        change.add(METRICS, &text(&training.curve)?)?;
        if config.training.tensorboard && self.events.is_none() {
            change.add(EVENTS, &[&events::beginning()[..], &self.first_events].concat())?;
        }
        change.commit()?;
        Ok(training)
    }
}

/// Returns the name of the checkpoint of a step.
fn name_of(step: u64) -> String {
    format!("state-{step}.safetensors")
}

/// Returns words about the checkpoints that are there.
fn others(files: &files::Folder, config: &Config) -> String {
    match Saved::read(&files.file(STATE)) {
        Ok((saved, _)) if !saved.kept.is_empty() => {
            let steps: Vec<_> = saved.kept.iter().map(u64::to_string).collect();
            format!("; there are those of steps {}", steps.join(", "))
        }
        _ if config.training.checkpoints < 2 => "; only the last one is kept unless [training] has checkpoints".into(),
        _ => String::new(),
    }
}

/// Creates a checkpoint of these weights with their description.
fn checkpoint(about: About, weights: Tensors) -> Result<Checkpoint> {
    let tensors = weights.into_iter().map(|(name, tensor)| {
        let shape = tensor.size().into_iter().map(|n| n as usize).collect();
        Ok(Tensor { name, shape, elements: Vec::try_from(tensor.f_flatten(0, -1)?)? })
    });
    Ok(Checkpoint { about, tensors: tensors.collect::<Result<_>>()? })
}

fn normalisation(data: &Dataset) -> Option<graftage::data::Normalisation> {
    match data {
        Dataset::Labelled(data) => Some(data.normalisation.clone()),
        Dataset::Text(_) => None,
    }
}

/// Returns measurements as the lines of their file.
fn text(curve: &[TrainingPoint]) -> Result<Vec<u8>> {
    let lines = curve.iter().map(line).collect::<Result<String>>()?;
    Ok(lines.into_bytes())
}

fn line(point: &TrainingPoint) -> Result<String> {
    let text = serde_json::to_string(point).map_err(|error| Error::usage(error.to_string()))?;
    Ok(text + "\n")
}
