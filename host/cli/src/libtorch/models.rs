//! `graftage models`.

use super::train::of_config;
use crate::console::say;
use clap::Args;
use graftage::model::Parameter;
use graftage_optim::tensor::Precision;
use graftage_train::config::Config;
use graftage_train::error::Result;
use graftage_train::limits;
use graftage_train::model::Model;
use graftage_train::trainer::{Feed, Trainer};
use std::path::PathBuf;

#[derive(Args)]
pub struct Models {
    /// Configuration of a training.
    config: PathBuf,
}

impl Models {
    pub fn run(self) -> Result<()> {
        let config = Config::read(&self.config)?;
        self.show(&config).map_err(|error| of_config(&self.config, error))
    }

    fn show(&self, config: &Config) -> Result<()> {
        let data = config.data.load(&config.split, &config.normalise)?;
        limits::check(config, &data)?;
        let feed = Feed::new(&data, &config.model, 0.0, config.seed, tch::Device::Cpu)?;
        let trainer = Trainer::new(config, &feed, tch::Device::Cpu)?;
        let parameters = config.model.parameters(&feed.shape)?;
        say!("{}", trainer.optimizer().table().trim_end());
        say!("stack: parameters with the same number have equal shapes and settings and are stepped together");
        let count: usize = parameters.iter().map(Parameter::count).sum();
        say!("\n{}: {count} parameters, {} steps", config.model, trainer.steps());
        match &config.model {
            Model::Mlp(_) => say!("graftable: yes"),
            other => say!("graftable: no (only libtorch can compute it: {other})"),
        }
        let kind = match config.precision {
            Precision::Float32 => "",
            Precision::Bfloat16 => "in binary32 (bfloat16 takes less); ",
        };
        let batch = config.training.batch / config.training.parts;
        let activations = 4 * config.model.activations(&feed.shape)? * batch;
        let bytes = |parameter: &Parameter| match config.weights {
            Precision::Bfloat16 if parameter.size.len() >= 2 => 2 * parameter.count(),
            _ => 4 * parameter.count(),
        };
        let held: usize = parameters.iter().map(bytes).sum();
        let all = [
            ("weights", held),
            ("gradients", held),
            ("the optimizer's state", trainer.optimizer().bytes()),
            ("activations", activations),
        ];
        for (what, bytes) in all {
            say!("{what:<24} {:>10}", megabytes(bytes));
        }
        say!(
            "{:<24} {:>10}   {kind}for {batch} samples at a time, without libtorch's own memory and a step's temporary needs",
            "total",
            megabytes(all.iter().map(|(_, bytes)| bytes).sum())
        );
        Ok(())
    }
}

fn megabytes(bytes: usize) -> String {
    format!("{:.2} MB", bytes as f64 / 1e6)
}
