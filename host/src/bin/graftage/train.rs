//! `graftage train`.

use crate::console::{Progress, percent, say};
use clap::Args;
use graftage::config::Config;
use graftage::error::{Error, Result};
use graftage::train::{Live, News, Start, train};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

#[derive(Args)]
pub struct Train {
    /// What to train, on what, by what and for how long: a TOML file.
    config: PathBuf,
    /// Go on from the last checkpoint of the output folder.
    #[arg(long)]
    resume: bool,
    /// Start again where the output folder holds a training, and replace it.
    #[arg(long, conflicts_with = "resume")]
    force: bool,
    /// Another output folder than the configuration's.
    #[arg(long, short, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

/// Names the configuration where it is to blame.
pub fn of_config(path: &Path, error: Error) -> Error {
    match error {
        Error::Usage(what) => Error::content(path, what),
        other => other,
    }
}

/// A flag that the first signal sets, so that what is done can be kept; a second one ends the process as it always would.
pub fn stop() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        let asked = |error| Error::Usage(format!("signals cannot be caught: {error}"));
        signal_hook::flag::register_conditional_default(signal, stop.clone()).map_err(asked)?;
        signal_hook::flag::register(signal, stop.clone()).map_err(asked)?;
    }
    Ok(stop)
}

impl Train {
    pub fn run(self) -> Result<()> {
        let mut config = Config::read(&self.config)?;
        if let Some(output) = self.output {
            config.output = output;
        }
        let data =
            config.data.load(&config.split, &config.normalise).map_err(|error| of_config(&self.config, error))?;
        let stop = stop()?;
        let progress = Progress::new("training", 0);
        let start = Start { resume: self.resume, force: self.force };
        let training = train(&config, &data, start, &stop, |live| show(&progress, &live));
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

fn show(progress: &Progress, Live { step, steps, loss, news }: &Live) {
    progress.total(*steps);
    match news {
        Some(News::Starts(table)) => {
            if let Some(table) = table {
                progress.line(table.trim_end());
            }
            progress.from(*step);
        }
        Some(News::Measured(point, unit)) => {
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
        None => {}
    }
    progress.bar(*step, || format!("loss {loss:.4}"));
}
