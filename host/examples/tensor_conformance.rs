//! Prints the conformance program's lines as core's rule computes them on libtorch tensors in exact order.

use graftage::network::Layers;
use graftage::replay::exact::over;
use graftage_tests::conformance::{END, KINDS, Networks, training, updates};
use std::io::Write;

fn main() -> std::io::Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout());
    let mut written = Ok(());
    let mut emit = |line: graftage_tests::conformance::Line| {
        if written.is_ok() {
            written = writeln!(out, "{line}");
        }
    };
    updates(&mut tensors::OnTensors::default(), &mut emit);
    let [dense, convolutional] = KINDS.map(|kinds| Layers::new(kinds).map(over));
    let networks = dense.zip(convolutional).map(|(dense, convolutional)| Networks { dense, convolutional });
    let right = networks.map_or(0, |mut networks| training(&mut networks, &mut emit));
    written?;
    writeln!(out, "{END}: {right} of 200")
}

mod tensors {
    use graftage::replay::exact::{download, upload, workspace};
    use graftage::tensor::{Exact, Operand};
    use graftage_core::adapt::fingerprint;
    use graftage_core::matrix::Slab;
    use graftage_core::scion::{Geometry, Rule, Scion};
    use graftage_core::transport::Alignment;
    use graftage_tests::conformance::Machine;

    /// One parameter as tensors.
    #[derive(Default)]
    pub struct OnTensors(Option<(Scion<Exact>, Alignment<Operand>)>, (usize, usize));

    fn tensor((rows, columns): (usize, usize), elements: &[f32]) -> Exact {
        upload(&Slab::new(rows, columns, elements.to_vec()).expect("as many elements as the shape has"))
    }

    impl Machine for OnTensors {
        fn start(&mut self, shape: (usize, usize), x: &[f32]) {
            let m = tensor(shape, &vec![0.0; x.len()]);
            *self = Self(Some((Scion { x: tensor(shape, x), y: tensor(shape, x), m }, Alignment::START)), shape);
        }
        fn accumulate(&mut self, keep: f32, weight: f32, gradient: &[f32]) {
            if let Some((state, _)) = &mut self.0 {
                state.accumulate(keep, weight, &tensor(self.1, gradient));
            }
        }
        fn advance(&mut self, geometry: Geometry, rule: &Rule, t: u64) {
            if let Some((state, alignment)) = &mut self.0 {
                workspace(self.1, |work| state.advance(geometry, rule, t, alignment, work));
            }
        }
        fn fingerprints(&mut self) -> [u64; 3] {
            let Some((state, _)) = &self.0 else { return [0; 3] };
            [&state.x, &state.y, &state.m].map(|tensor| {
                let mut elements = [vec![0.0; self.1.0 * self.1.1]];
                let mut slab = Slab::new(self.1.0, self.1.1, &mut elements[0][..]).expect("as many elements");
                download(tensor, &mut slab);
                fingerprint(&elements[0])
            })
        }
    }
}
