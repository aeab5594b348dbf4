//! `graftage train`.

use crate::console::{Progress, percent, say};
use crate::outputs::Force;
use clap::Args;
use graftage::data::Dataset;
use graftage::report::training_page;
use graftage::signals;
use graftage_train::config::Config;
use graftage_train::error::{Error, Result};
use graftage_train::trainer::{FILES, Live, News, Start, train};
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct Train {
    /// TOML file that configures the model, data, optimizer and duration.
    config: PathBuf,
    /// Continue from the last checkpoint in the output folder.
    #[arg(long, conflicts_with = "force")]
    resume: bool,
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
        if let Dataset::Labelled(labelled) = &data {
            let wide = labelled.normalisation.wide.iter();
            remarks.extend(wide.map(|wide| format!("{wide}: it trains in binary64, and cannot be grafted")));
            remarks.extend(labelled.notes.iter().cloned());
            remarks.extend(labelled.legend.classes_in_words());
        }
        let progress = Progress::new("training", 0);
        let start = Start { resume: self.resume, force: self.force.given() };
        // The first signal makes the training write a checkpoint and stop.
        let training =
            train(&config, &data, start, signals::stop(), training_page, |live| show(&progress, &remarks, &live));
        let training = training.map_err(|error| of_config(&self.config, error))?;
        drop(progress);
        let (folder, parameters) = (config.output.display(), training.parameters);
        say!(
            "{folder}: {} ({parameters} parameters), test loss {:.4} nats, {} right",
            training.network,
            training.loss,
            percent(training.accuracy)
        );
        training.notes().iter().for_each(|note| say!("{note}"));
        Ok(())
    }
}

fn show(progress: &Progress, remarks: &[String], Live { step, steps, loss, news }: &Live) {
    progress.total(*steps);
    match news {
        Some(News::Starts(table)) => {
            remarks.iter().for_each(|remark| progress.line(remark));
            if let Some(table) = table {
                progress.line(table.trim_end());
            }
            progress.from(*step);
        }
        Some(News::Measured(point, unit)) if progress.due(*step) => {
            let mut train = point.train_loss.map_or(String::new(), |loss| format!(", training part {loss:.4}"));
            if let Some(loss) = point.validation_loss {
                train += &format!(", validation {loss:.4}");
            }
            progress.line(&format!(
                "step {step}/{steps}: loss {:.4}{train}, test {:.4}, {} right; {:.0} {unit}/s, optimizer {}",
                point.loss,
                point.test_loss,
                percent(point.accuracy),
                point.rate,
                percent(point.optimizer_share)
            ));
        }
        Some(News::Finished(steps)) => progress.line(&format!("it had ended after {steps} steps: nothing was done")),
        Some(News::NoCheckpoint(why)) => {
            progress.line(&format!("step {step}: no checkpoint: {why}; the training goes on"))
        }
        // The metrics file contains every measurement.
        Some(News::Measured(..)) | None => {}
    }
    progress.bar(*step, || format!("loss {loss:.4}"));
}
