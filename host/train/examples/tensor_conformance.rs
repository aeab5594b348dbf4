//! Prints the conformance program's lines as core's rule computes them on libtorch tensors in exact order: on the
//! processor, or with the argument `cuda` on a GPU.

use graftage::network::Layers;
use graftage_optim::cuda;
use graftage_tests::conformance::{ASKED, END, KINDS, Networks, training, updates};
use graftage_train::exact::over;
use std::io::Write;

fn main() -> std::io::Result<()> {
    let device = match std::env::args().nth(1).as_deref() {
        None => tch::Device::Cpu,
        Some("cuda") => match cuda::device() {
            Some(device) => device,
            None => return writeln!(std::io::stdout(), "skipped: libtorch sees no CUDA device here"),
        },
        Some(other) => return Err(std::io::Error::other(format!("{other:?} is no device: cuda, or nothing"))),
    };
    let mut out = std::io::BufWriter::new(std::io::stdout());
    let mut written = Ok(());
    let mut emit = |line: graftage_tests::conformance::Line| {
        if written.is_ok() {
            written = writeln!(out, "{line}");
        }
    };
    updates(&mut tensors::OnTensors::new(device), &mut emit);
    let networks = KINDS.map(|kinds| Layers::new(kinds).map(|layers| over(layers, device)));
    let right = match networks {
        [Some(dense), Some(convolutional), Some(standardised)] => {
            training(&mut Networks { dense, convolutional, standardised }, &mut emit)
        }
        _ => 0,
    };
    written?;
    writeln!(out, "{END}: {right} of {ASKED}")
}

mod tensors {
    use graftage_core::adapt::fingerprint;
    use graftage_core::matrix::Slab;
    use graftage_core::scion::{Geometry, Rule, Scion};
    use graftage_core::transport::Alignment;
    use graftage_optim::tensor::{Exact, Operand};
    use graftage_tests::conformance::Machine;
    use graftage_train::exact::{download, upload, workspace};
    use tch::{Device, Tensor};

    /// State of one parameter, on tensors.
    pub struct OnTensors {
        state: Option<(Scion<Exact>, Alignment<Operand>, Tensor)>,
        shape: (usize, usize),
        device: Device,
    }

    impl OnTensors {
        pub fn new(device: Device) -> Self {
            Self { state: None, shape: (0, 0), device }
        }

        fn tensor(&self, elements: &[f32]) -> Exact {
            let (rows, columns) = self.shape;
            let slab = Slab::new(rows, columns, elements.to_vec()).expect("as many elements as the shape has");
            upload(&slab, self.device)
        }
    }

    impl Machine for OnTensors {
        fn start(&mut self, shape: (usize, usize), x: &[f32]) {
            self.shape = shape;
            let [x, y, m, start] = [x, x, &vec![0.0; x.len()], x].map(|elements| self.tensor(elements));
            self.state = Some((Scion { x, y, m }, Alignment::START, start.0));
        }
        fn accumulate(&mut self, keep: f32, weight: f32, gradient: &[f32]) {
            let gradient = self.tensor(gradient);
            if let Some((state, ..)) = &mut self.state {
                state.accumulate(keep, weight, &gradient);
            }
        }
        fn advance(&mut self, geometry: Geometry, rule: &Rule, t: u64) {
            if let Some((state, alignment, start)) = &mut self.state {
                workspace(self.shape, self.device, |work| {
                    state.advance(geometry, rule, t, Some(start), alignment, work);
                });
            }
        }
        fn fingerprints(&mut self) -> [u64; 3] {
            let Some((state, ..)) = &self.state else { return [0; 3] };
            [&state.x, &state.y, &state.m].map(|tensor| {
                let mut elements = [vec![0.0; self.shape.0 * self.shape.1]];
                let mut slab = Slab::new(self.shape.0, self.shape.1, &mut elements[0][..]).expect("as many elements");
                download(tensor, &mut slab);
                fingerprint(&elements[0])
            })
        }
    }
}
