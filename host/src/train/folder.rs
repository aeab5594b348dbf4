//! The folder of a training: its files, which are whole whenever the process ends.

use super::best::Search;
use super::{BEST, METRICS, MODEL, PAGE, RESULT, STATE, Saved, Start, Trainer};
use crate::checkpoint::{About, Checkpoint};
use crate::config::{Config, Keep};
use crate::data::{Dataset, Identity};
use crate::error::{Error, Result};
use crate::files;
use crate::optim::Tensors;
use crate::report::{Training, TrainingPoint, training_page};
use crate::train::Feed;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The folder of a training.
pub(super) struct Folder<'a>(pub &'a Path);

impl Folder<'_> {
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Makes the folder, and reads the checkpoint from which the training is to go on.
    pub fn begin(&self, config: &Config, data: &Identity, start: Start) -> Result<Option<(Saved, Tensors)>> {
        let path = self.file(STATE);
        match (path.exists(), start.resume) {
            (true, true) => {
                let (saved, state) = Saved::read(&path)?;
                saved.check(config, data).map_err(|what| Error::content(&path, what))?;
                Ok(Some((saved, state)))
            }
            (false, true) => Err(Error::content(&path, "there is no checkpoint to go on from; start without --resume")),
            (true, false) if !start.force => {
                let what = "holds a training; go on with --resume, start again with --force, or name another output";
                Err(Error::content(self.0, what))
            }
            (_, false) => {
                std::fs::create_dir_all(self.0).map_err(Error::file(self.0))?;
                // What an earlier training left shall not be taken for this one's.
                for name in [STATE, METRICS, MODEL, BEST, RESULT, PAGE] {
                    match std::fs::remove_file(self.file(name)) {
                        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                            return Err(Error::file(&self.file(name))(error));
                        }
                        _ => {}
                    }
                }
                Ok(None)
            }
        }
    }

    pub fn save(&self, saved: &Saved, trainer: &Trainer, search: &Search) -> Result<()> {
        let mut state = trainer.optimizer.state()?;
        state.extend(search.tensors());
        saved.write(&self.file(STATE), &state)
    }

    /// The result of a training that has ended after so many steps, if all that it leaves is there.
    pub fn result(&self, config: &Config, steps: u64) -> Option<Training> {
        let best = (config.training.keep == Keep::Best).then_some(BEST);
        let whole = [MODEL, PAGE].into_iter().chain(best).all(|name| self.file(name).exists());
        let training = files::read_json::<Training>(&self.file(RESULT)).ok()?;
        (whole && training.steps == steps).then_some(training)
    }

    /// The measurements up to a step.
    pub fn metrics(&self, step: u64) -> Result<Vec<TrainingPoint>> {
        let path = self.file(METRICS);
        if !path.exists() {
            return Ok(Vec::new());
        }
        let text = files::read(&path)?;
        let lines = String::from_utf8_lossy(&text);
        // The last line may have been cut.
        let points = lines.lines().map_while(|line| serde_json::from_str::<TrainingPoint>(line).ok());
        Ok(points.take_while(|point| point.step <= step).collect())
    }

    pub fn rewrite(&self, curve: &[TrainingPoint]) -> Result<()> {
        let mut text = String::new();
        for point in curve {
            text += &line(point)?;
        }
        files::write(&self.file(METRICS), text.as_bytes())
    }

    pub fn lines(&self) -> Result<Lines> {
        let path = self.file(METRICS);
        let file = std::fs::OpenOptions::new().append(true).open(&path).map_err(Error::file(&path))?;
        Ok(Lines { path, file })
    }

    /// Writes what a training leaves.
    pub fn end(
        &self,
        config: &Config,
        data: &Dataset,
        feed: &Feed,
        trainer: &Trainer,
        search: Search,
        curve: Vec<TrainingPoint>,
    ) -> Result<Training> {
        let about = About {
            model: config.model.clone(),
            shape: feed.shape.clone(),
            data: config.data.clone(),
            split: config.split.clone(),
            normalisation: normalisation(data),
            classes: match data {
                Dataset::Labelled(data) => data.classes.clone(),
                Dataset::Text(_) => Vec::new(),
            },
        };
        let last = checkpoint(about.clone(), trainer.optimizer.x()?)?;
        last.write(&self.file(MODEL))?;
        if let Some(weights) = search.weights {
            checkpoint(about, weights)?.write(&self.file(BEST))?;
        }
        let point = curve.last();
        let training = Training {
            network: config.model.to_string(),
            parameters: last.tensors.iter().map(|(.., weights)| weights.len()).sum(),
            optimizer: config.optimizer.method.to_string(),
            arithmetic: config.optimizer.arithmetic.to_string(),
            steps: trainer.step(),
            batch: config.training.batch,
            rule: trainer.rule(),
            seed: config.seed,
            samples: (feed.train.len(), feed.test.len()),
            drawn: trainer.step() * (config.training.batch * feed.unit.1) as u64,
            best: search.standing.best.filter(|_| config.training.keep == Keep::Best),
            stopped_early: trainer.step() < trainer.steps(),
            unit: feed.unit.0.to_owned(),
            loss: point.map_or(f32::NAN, |point| point.test_loss),
            accuracy: point.map_or(f32::NAN, |point| point.accuracy),
            groups: trainer.optimizer.table(),
            curve,
        };
        files::write_json(&self.file(RESULT), &training)?;
        files::write(&self.file(PAGE), training_page(&training).as_bytes())?;
        Ok(training)
    }
}

/// These weights with what they are for.
fn checkpoint(about: About, weights: Tensors) -> Result<Checkpoint> {
    let tensors = weights.into_iter().map(|(name, tensor)| {
        let size = tensor.size().into_iter().map(|n| n as usize).collect();
        Ok((name, size, Vec::<f32>::try_from(tensor.f_flatten(0, -1)?)?))
    });
    Ok(Checkpoint { about, tensors: tensors.collect::<Result<_>>()? })
}

fn normalisation(data: &Dataset) -> Option<crate::data::Normalisation> {
    match data {
        Dataset::Labelled(data) => Some(data.normalisation.clone()),
        Dataset::Text(_) => None,
    }
}

fn line(point: &TrainingPoint) -> Result<String> {
    let text = serde_json::to_string(point).map_err(|error| Error::Usage(error.to_string()))?;
    Ok(text + "\n")
}

/// `metrics.jsonl`, growing.
pub(super) struct Lines {
    path: PathBuf,
    file: std::fs::File,
}

impl Lines {
    pub fn add(&mut self, point: &TrainingPoint) -> Result<()> {
        self.file.write_all(line(point)?.as_bytes()).map_err(Error::file(&self.path))
    }
}
