//! The theory's lag on the libtorch implementation of the rule, and on implementations with the same mistakes as in
//! the theory's own tests.

#[path = "../../theory/tests/mistakes/mod.rs"]
mod mistakes;

use graftage::error::Result;
use graftage_core::random::Generator;
use graftage_core::scion::{Geometry, Rule};
use graftage_optim::tensor::Arithmetic;
use graftage_optim::{Group, Groups, TransportedScion};
use graftage_theory::Method;
use graftage_theory::implementation::{Core, Subject};
use graftage_theory::lag::{Lag, Path, measure};
use graftage_theory::problem::Waves;
use mistakes::{FromZero, Overshot};
use tch::{Device, Kind, Tensor, nn};

/// Seed of all random numbers here.
const SEED: u64 = 1;

/// Optimizer over a model of one matrix, in exact (`EXACT`) or fast arithmetic.
struct Torch<const EXACT: bool> {
    optimizer: TransportedScion,
    model: Tensor,
    x: Vec<f32>,
    y: Vec<f32>,
    m: Vec<f32>,
}

fn elements(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor.detach().flatten(0, -1)).unwrap()
}

impl<const EXACT: bool> Subject for Torch<EXACT> {
    fn start((m, n): (usize, usize), geometry: Geometry, rule: &Rule, x: &[f32]) -> Result<Self> {
        let store = nn::VarStore::new(Device::Cpu);
        let model = store.root().var_copy("matrix", &Tensor::from_slice(x).view([m as i64, n as i64]));
        let arithmetic = if EXACT { Arithmetic::Exact } else { Arithmetic::Fast };
        let groups = Groups::only([Group::new("*").geometry(geometry)]);
        let named = [("matrix".to_owned(), model.shallow_clone())];
        let optimizer = TransportedScion::with_groups(named, *rule, arithmetic, &groups).unwrap();
        Ok(Self { optimizer, model, x: x.to_vec(), y: x.to_vec(), m: vec![0.0; m * n] })
    }
    fn step(&mut self, gradients: &[f32]) {
        // A loss with this gradient.
        let gradient = Tensor::from_slice(gradients).view_as(&self.model);
        self.optimizer.backward_step(&(&self.model * gradient).sum(Kind::Float)).unwrap();
        let state = self.optimizer.state().unwrap();
        let array = |name: &str| elements(&state.iter().find(|(found, _)| found == name).unwrap().1);
        (self.x, self.y, self.m) = (array("matrix.x"), elements(&self.model), array("matrix.m"));
    }
    fn x(&self) -> &[f32] {
        &self.x
    }
    fn y(&self) -> &[f32] {
        &self.y
    }
    fn m(&self) -> &[f32] {
        &self.m
    }
}

/// Measures a path of a function, at η/α = 0.02.
fn on<S: Subject>(path: Path, method: Method) -> Lag {
    let waves = Waves::new((4, 8), 0.02, &mut Generator::new(SEED, 0)).unwrap();
    measure::<S>(&waves, method.transport(), 0.02, path).unwrap()
}

fn lag<S: Subject>(method: Method) -> Lag {
    on::<S>(Path { from: 0.5, to: 2.0 }, method)
}

fn assert_obeys(method: Method, lag: &Lag) {
    let Lag { start, steady } = lag;
    println!("seed {SEED}, {method:?}: {} {}", start.ratio(method), steady.ratio(method));
    assert!((0.95..1.05).contains(&start.ratio(method)), "{method:?} {start:?}");
    assert!((0.98..1.02).contains(&steady.ratio(method)), "{method:?} {steady:?}");
}

#[test]
fn the_fast_optimizer_obeys_and_its_mistakes_are_found_out() {
    for method in Method::ALL {
        assert_obeys(method, &lag::<Torch<false>>(method));
    }
    let wrong = lag::<Overshot<Torch<false>>>(Method::Transported).steady;
    assert!(wrong.ratio(Method::Transported) > 1.05, "{wrong:?}");
    let wrong = lag::<FromZero<Torch<false>>>(Method::Transported).start;
    assert!(wrong.ratio(Method::Transported) > 1.05, "{wrong:?}");
}

/// Shows that it obeys what core obeys, and that core's mistakes would change the lag here in the same way.
#[test]
fn the_exact_optimizer_has_cores_bits() {
    for method in Method::ALL {
        assert_obeys(method, &lag::<Core>(method));
        let short = || Path { from: 0.05, to: 0.1 };
        assert_eq!(on::<Torch<true>>(short(), method), on::<Core>(short(), method), "{method:?}");
    }
}
