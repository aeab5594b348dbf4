//! `graftage train`.

use crate::console::{Progress, say, tell};
use crate::outputs::Force;
use clap::Args;
use graftage::data::Dataset;
use graftage::report::training_page;
use graftage::signals;
use graftage::statistics::percent;
use graftage_optim::tensor::Precision;
use graftage_train::config::Config;
use graftage_train::error::{Error, Result};
use graftage_train::trainer::{FILES, Live, News, Start, train};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct Train {
    /// TOML file that configures the model, data, optimizer and duration.
    config: PathBuf,
    /// Continue from the last checkpoint in the output folder.
    #[arg(long, conflicts_with = "force")]
    resume: bool,
    /// Continue from the kept checkpoint of this step instead of the last one; see `checkpoints` in [training].
    #[arg(long, value_name = "STEP", requires = "resume")]
    at: Option<u64>,
    #[command(flatten)]
    force: Force,
    /// Output folder, instead of the one in the configuration.
    #[arg(long, short, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

/// Names the configuration file in an error that it causes.
pub fn of_config(path: &Path, error: impl Into<Error>) -> Error {
    match error.into() {
        Error::Graftage(graftage::error::Error::Usage(what)) => Error::content(path, what),
        other => other,
    }
}

impl Train {
    pub fn run(self) -> Result<()> {
        let mut config = Config::read(&self.config)?;
        if let Some(output) = self.output {
            config.output = output;
        }
        let own = config.data.paths();
        self.force.claims([&self.config].into_iter().chain(&own)).check(&config.output, &FILES)?;
        let data =
            config.data.load(&config.split, &config.normalise).map_err(|error| of_config(&self.config, error))?;
        let mut remarks = Vec::new();
        if config.precision == Precision::Bfloat16 && config.device()? == tch::Device::Cpu {
            let what = "precision = \"bfloat16\" on a processor: some are faster with it, others take twice as long; \
                        compare a few steps";
            remarks.push(what.to_owned());
        }
        if let Dataset::Labelled(labelled) = &data {
            let wide = labelled.normalisation.wide.iter();
            remarks.extend(
                wide.map(|wide| format!("{wide}: it is normalised in binary64, so the network cannot be grafted")),
            );
            remarks.extend(labelled.notes.iter().cloned());
            remarks.extend(labelled.legend.classes_in_words());
        }
        let mut display = Display { progress: Progress::new("training", 0), tenths: None, remarks };
        let start = Start { resume: self.resume, at: self.at, force: self.force.given() };
        // The first signal makes the training write a checkpoint and stop.
        let training = train(&config, &data, start, signals::stop(), training_page, |live| display.show(&live));
        let training = training.map_err(|error| of_config(&self.config, error))?;
        drop(display);
        let (folder, parameters) = (config.output.display(), training.parameters);
        say!(
            "{folder}: {} ({parameters} parameters), test loss {:.4} nats, accuracy {}",
            training.network,
            training.loss,
            percent(training.accuracy)
        );
        training.notes().iter().for_each(|note| say!("{note}"));
        Ok(())
    }
}

/// Display of a training: remarks and measurements as lines, above a progress bar.
struct Display {
    progress: Progress,
    /// Tenths of the work done when a line was last due.
    tenths: Option<u64>,
    /// Remarks about the data, shown at the start.
    remarks: Vec<String>,
}

impl Display {
    /// Sets how much was done before the start, so that the remaining time is correct.
    fn from(&self, done: u64) {
        self.progress.inner.set_position(done);
        self.progress.inner.reset_eta();
    }

    /// Prints a line above the bar, to standard error like the bar.
    fn line(&self, line: &str) {
        if std::io::stderr().is_terminal() {
            self.progress.inner.suspend(|| tell!("{line}"));
        } else {
            tell!("{line}");
        }
    }

    /// Returns `true` if a line about the current progress is due: the first one, and one per tenth of the work.
    fn is_due(&mut self, done: u64) -> bool {
        let tenths = done * 10 / self.progress.inner.length().unwrap_or(0).max(1);
        self.tenths.replace(tenths) != Some(tenths)
    }

    /// Shows a look at the training.
    fn show(&mut self, Live { step, steps, loss, news }: &Live) {
        self.progress.total(*steps);
        match news {
            Some(News::Starts(table)) => {
                self.remarks.iter().for_each(|remark| self.line(remark));
                self.line(table.trim_end());
                self.from(*step);
            }
            Some(News::Measured(point, unit)) if self.is_due(*step) => {
                let mut train = point.train_loss.map_or(String::new(), |loss| format!(", training part {loss:.4}"));
                if let Some(loss) = point.validation_loss {
                    train += &format!(", validation {loss:.4}");
                }
                let average = point.average_loss.map_or(String::new(), |loss| format!(" (averaged {loss:.4})"));
                self.line(&format!(
                    "step {step}/{steps}: loss {:.4}{train}, test {:.4}{average}, accuracy {}; {:.0} {unit}/s, optimizer {}",
                    point.loss,
                    point.test_loss,
                    percent(point.accuracy),
                    point.rate,
                    percent(point.optimizer_share)
                ));
            }
            Some(News::Finished(steps)) => {
                self.line(&format!("the training had already ended after {steps} steps: nothing was done"))
            }
            Some(News::NoCheckpoint(why)) => {
                self.line(&format!("step {step}: no checkpoint: {why}; the training continues"))
            }
            // The metrics file contains every measurement.
            Some(News::Measured(..)) | None => {}
        }
        self.progress.bar(*step, || format!("loss {loss:.4}"));
    }
}
