//! Memory and threads required by a training.
//!
//! The memory is a lower estimate. It covers weights, gradients, the optimizer's state, the activations that the
//! samples of one part of a batch keep for the backward pass, and the data. The needs of libtorch itself and temporary
//! memory of a step come on top. For a training on a GPU, only what is kept in the processor's memory is counted. On a
//! system without `/proc`, nothing is checked.

use crate::config::{Config, Optimizer};
use crate::error::{Error, Result};
use graftage::data::Dataset;
use graftage::model::{Parameter, Shape};
use graftage::parallel;
use graftage_core::scion::{Pull, Rule};
use graftage_core::transport::Transport;
use graftage_optim::tensor::Precision;
use std::path::Path;

/// Memory beyond the counted needs, as a share of them: libtorch itself, and temporary memory of a step.
const SPARE: f64 = 0.1;

/// Checks that a training fits this machine, in threads and memory.
///
/// # Errors
/// If it does not; the message names the largest part of the memory and the remedy. Also if the model does not fit the
/// data.
pub fn check(config: &Config, data: &Dataset) -> Result<()> {
    if let Some(count) = config.threads {
        parallel::check("threads", count)?;
    }
    several(config, data, 1)
}

/// Checks that `jobs` concurrent trainings, which share their data, fit this machine's memory.
///
/// # Errors
/// Same as [`check`], except for threads.
pub fn several(config: &Config, data: &Dataset, jobs: usize) -> Result<()> {
    let needs = needs(config, data, jobs)?;
    let (all, free) = (needs.iter().map(|need| need.bytes).sum::<f64>(), free());
    let largest = needs.iter().max_by(|a, b| a.bytes.total_cmp(&b.bytes));
    match (free, largest) {
        (Some(free), Some(Need { what, bytes, remedy })) if all * (1.0 + SPARE) > free => Err(Error::usage(format!(
            "the training needs at least {} of memory, {} of it for {what}, but only {} is free: use {remedy}",
            gigabytes(all),
            gigabytes(*bytes),
            gigabytes(free)
        ))),
        _ => Ok(()),
    }
}

/// Part of a training's memory needs.
struct Need {
    what: &'static str,
    bytes: f64,
    remedy: String,
}

fn needs(config: &Config, data: &Dataset, jobs: usize) -> Result<Vec<Need>> {
    let shape = Shape::of(data);
    let parameters = config.model.parameters(&shape)?;
    let count: f64 =
        parameters.iter().map(|Parameter { size, .. }| size.iter().map(|n| *n as f64).product::<f64>()).sum();
    let (batch, parts) = (config.training.batch, config.training.parts);
    let (number, index) = (size_of::<f32>() as f64, size_of::<i64>() as f64);
    let on_processor = config.device()? == tch::Device::Cpu;
    let (model, remedy) = (number * count * jobs as f64, "a smaller model".to_owned());
    let mut needs = Vec::new();
    if on_processor {
        // Weights and gradients of matrices in bfloat16 take half; vectors are few.
        let rounded = config.weights == Precision::Bfloat16;
        let arrays = if rounded { 1 } else { 2 } + arrays(&config.optimizer, rounded);
        needs.push(Need {
            what: "[model] (weights, gradients and the optimizer's state)",
            bytes: model * arrays as f64,
            remedy,
        });
    }
    let activations = if on_processor { number * config.model.activations(&shape)? as f64 } else { 0.0 };
    needs.push(Need {
        what: "[training] batch (the samples of a step)",
        bytes: jobs as f64 * (index * batch as f64 + activations * (batch / parts) as f64),
        remedy: format!("a smaller batch than {batch}, or more parts than {parts}"),
    });
    if on_processor {
        needs.push(Need { what: "[data] (samples)", bytes: copied(data), remedy: "fewer samples".into() });
    }
    Ok(needs)
}

/// Size of the tensors that hold the data, in bytes.
fn copied(data: &Dataset) -> f64 {
    let bytes = match data {
        Dataset::Labelled(data) => {
            let parts = [Some(&data.train), data.validate.as_ref(), Some(&data.test)].into_iter().flatten();
            parts.map(|part| size_of_val(part.features()) + part.len() * size_of::<i64>()).sum::<usize>()
        }
        Dataset::Text(text) => text.train.len() + text.validate.as_ref().map_or(0, Vec::len) + text.test.len(),
    };
    bytes as f64
}

/// Number of arrays of the weights' size, in binary32, that an optimizer keeps in addition to the model's own, which
/// may be rounded to bfloat16.
pub fn arrays(optimizer: &Optimizer, rounded: bool) -> usize {
    let Rule { transport, pull, .. } = optimizer.method.rule(optimizer.rule(1));
    let of_rule = match transport {
        Transport::Fixed { theta: 0.0 } => 1,
        _ => 2,
    };
    let beside_x = match optimizer.method.baseline() {
        Some(baseline) => baseline.arrays.len(),
        None => of_rule + usize::from(matches!(pull, Pull::Start { .. })),
    };
    // X itself, where the model would hold it.
    let held = optimizer.method.baseline().is_some()
        || matches!(transport, Transport::Fixed { theta: 0.0 } | Transport::Nesterov);
    beside_x + usize::from(rounded && held) + usize::from(optimizer.average.is_some())
}

/// Memory still available to this process, in bytes; `None` if the system does not say.
pub fn free() -> Option<f64> {
    [of_machine(), of_groups(), of_addresses()].into_iter().flatten().min_by(f64::total_cmp)
}

/// Memory left on the machine, including free swap, in bytes.
fn of_machine() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kilobytes = |key: &str| field(&text, key);
    Some((kilobytes("MemAvailable:")? + kilobytes("SwapFree:").unwrap_or(0.0)) * 1024.0)
}

/// Remaining address space of this process in bytes, as limited by `ulimit -v`.
fn of_addresses() -> Option<f64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    Some((field(&limits, "Max address space")? - field(&status, "VmSize:")? * 1024.0).max(0.0))
}

/// Smallest remainder in bytes of the process's control groups and their ancestors, not counting cached files.
fn of_groups() -> Option<f64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let left = groups.lines().filter_map(|line| {
        let (controllers, group) = line.split_once(':')?.1.split_once(':')?;
        let (root, limit, used, files) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max", "memory.current", "file"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_cache")
            }
            _ => return None,
        };
        let left = Path::new(group).ancestors().filter_map(|group| {
            let read = |file| {
                let folder = Path::new(root).join(group.strip_prefix("/").ok()?);
                std::fs::read_to_string(folder.join(file)).ok()
            };
            let number = |file| read(file)?.trim().parse::<f64>().ok();
            let files = read("memory.stat").and_then(|text| field(&text, files)).unwrap_or(0.0);
            Some((number(limit)? - (number(used)? - files)).max(0.0))
        });
        left.min_by(f64::total_cmp)
    });
    left.min_by(f64::total_cmp)
}

/// Parses the first number of the line that starts with a key.
fn field(text: &str, key: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key).filter(|rest| rest.starts_with([' ', '\t'])))?;
    line.split_whitespace().next()?.parse().ok()
}

fn gigabytes(bytes: f64) -> String {
    format!("{:.1} GB", bytes / 1e9)
}
