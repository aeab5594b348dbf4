//! A record, computed again: by core on this machine, and by core's rule on libtorch tensors in exact order.

use crate::adaptation::{network, start_sessions};
use crate::error::{Error, Result};
use crate::network::Layers;
use crate::record::{Event, Lesson, Record};
use crate::report::Target;
use graftage_core::adapt::Report;
use graftage_core::image::Image;
use graftage_core::network::Layer;

/// Computes the adaptation of a record again with core on this machine.
///
/// # Errors
/// Where the image is not the record's, or a sample of the record is refused.
pub fn with_core(record: &Record, image: &Image) -> Result<Target> {
    replay(record, image, std::env::consts::ARCH, |network| network)
}

/// The same with X, Y and M as libtorch tensors and every operation in core's order; gradients come from core's network.
///
/// # Errors
/// As [`with_core`].
#[cfg(feature = "torch")]
pub fn with_libtorch(record: &Record, image: &Image) -> Result<Target> {
    replay(record, image, "libtorch-exact", exact::over)
}

/// The recorded board itself.
pub fn recorded(record: &Record) -> Target {
    Target {
        target: record.board.clone(),
        steps: record.lessons().map(|lesson| lesson.reports.len() as u64).sum(),
        differing: 0,
        first_difference: None,
        digest: format!("{:016x}", record.digest()),
    }
}

/// What differs between a record and what was computed again.
#[derive(Default)]
struct Differences {
    count: u64,
    first: Option<String>,
}

impl Differences {
    fn note(&mut self, what: impl FnOnce() -> String) {
        self.count += 1;
        self.first.get_or_insert_with(what);
    }

    /// Of the steps that a sample brought, the `number`-th from 1.
    fn steps(&mut self, number: usize, recorded: &Lesson, found: &[Report]) {
        for (at, recorded) in recorded.reports.iter().enumerate() {
            match found.get(at) {
                // The loss is part of what is compared, to its bits.
                Some(found) if bits(found) == bits(recorded) => {}
                Some(found) if found.digest == recorded.digest => self.note(|| format!("step {}: loss", recorded.step)),
                Some(_) => self.note(|| format!("step {}: state", recorded.step)),
                None => self.note(|| format!("step {}: not taken", recorded.step)),
            }
        }
        if found.len() > recorded.reports.len() {
            self.note(|| format!("sample {number}: more steps than recorded"));
        }
    }
}

fn replay<N: Layer>(record: &Record, image: &Image, target: &str, over: impl FnOnce(Layers) -> N) -> Result<Target> {
    let mut board = start_sessions(over(network(image)?), image.header.recipe)?;
    let mut differences = Differences::default();
    if board.adaptation().digest() != record.start {
        differences.note(|| "before the first step".into());
    }
    let (mut samples, mut sessions) = (0, 0);
    for event in &record.events {
        match event {
            Event::Sample(lesson) => {
                samples += 1;
                let mut reports: Vec<Report> = Vec::new();
                let taken = board
                    .learn(&lesson.input, lesson.label, |report| reports.push(report))
                    .map_err(|e| Error::Usage(format!("sample {samples} of the record: {e}")))?;
                differences.steps(samples, lesson, &reports);
                if taken.held_out != lesson.held_out {
                    differences.note(|| format!("sample {samples}: held out or not"));
                }
            }
            Event::End(recorded) => {
                sessions += 1;
                if board.end() != recorded.verdict {
                    differences.note(|| format!("session {sessions}: verdict"));
                } else if board.adaptation().digest() != recorded.digest {
                    differences.note(|| format!("session {sessions}: state"));
                }
            }
        }
    }
    let adaptation = board.adaptation();
    Ok(Target {
        target: target.into(),
        steps: adaptation.step(),
        differing: differences.count,
        first_difference: differences.first,
        digest: format!("{:016x}", adaptation.digest()),
    })
}

fn bits(report: &Report) -> (u64, u32, u32, u64) {
    (report.step, report.outcome.admitted, report.outcome.loss.to_bits(), report.digest)
}

/// X, Y and M in libtorch, in exact order.
#[cfg(feature = "torch")]
pub mod exact {
    use crate::network::{Layers, MovedBy, Update};
    use crate::tensor::{Exact, Operand};
    use graftage_core::matrix::RowMajor;
    use graftage_core::network::{Layer, Parameter};
    use graftage_core::norm::Workspace;
    use graftage_core::scion::{Rule, Scion};
    use graftage_core::transport::Alignment;
    use tch::{Kind, Tensor};

    /// The rule on tensors. Between steps the state is the network's, which also sums up the gradients.
    #[derive(Debug)]
    pub struct OnTensors;

    /// A network whose every step is computed by libtorch.
    pub fn over(network: Layers) -> MovedBy<OnTensors> {
        MovedBy::new(network, OnTensors)
    }

    /// A matrix as a tensor.
    pub fn upload(matrix: &impl RowMajor) -> Exact {
        let (rows, columns) = matrix.shape();
        Exact(Tensor::from_slice(matrix.elements()).view([rows as i64, columns as i64]))
    }

    /// A tensor's elements into a matrix of its shape.
    pub fn download(tensor: &Exact, matrix: &mut impl RowMajor) {
        let elements = matrix.elements_mut();
        let count = elements.len();
        tensor.0.contiguous().view([-1]).copy_data(elements, count);
    }

    /// Memory for one step of a parameter of m rows and n columns.
    pub fn workspace((m, n): (usize, usize), f: impl FnOnce(&mut Workspace<Exact>)) {
        let empty = || Exact(Tensor::empty([0], (Kind::Float, tch::Device::Cpu)));
        let mut direction = Exact(Tensor::zeros([m as i64, n as i64], (Kind::Float, tch::Device::Cpu)));
        let [mut first, mut second, mut third] = [empty(), empty(), empty()];
        f(&mut Workspace { direction: &mut direction, squares: [&mut first, &mut second, &mut third] });
    }

    impl Update for OnTensors {
        fn advance(&mut self, network: &mut Layers, rule: &Rule, t: u64) {
            network.parameters(&mut |Parameter { mut state, geometry, alignment, .. }| {
                let mut tensors = Scion { x: upload(&state.x), y: upload(&state.y), m: upload(&state.m) };
                let mean = alignment.mean.map(|mean| Operand::from(Tensor::from_slice(&[mean]).view([1, 1])));
                let mut on_tensors = Alignment { mean, weight: alignment.weight };
                workspace(state.x.shape(), |work| tensors.advance(*geometry, rule, t, &mut on_tensors, work));
                *alignment =
                    Alignment { mean: on_tensors.mean.as_ref().map(Operand::number), weight: on_tensors.weight };
                download(&tensors.x, &mut state.x);
                download(&tensors.y, &mut state.y);
                download(&tensors.m, &mut state.m);
            });
        }
    }
}
