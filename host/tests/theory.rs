//! Tests that the theory's experiments find wrong updates, and that their noise has its laws.

use graftage::error::Result;
use graftage::theory::fit::mean;
use graftage::theory::noise::{Law, Noise};
use graftage::theory::subject::{Core, Subject};
use graftage::theory::{Experiment, Extent, Results, Settings, run};
use graftage_core::norm::Norm;
use graftage_core::random::Generator;
use graftage_core::scion::{Geometry, Rule};

/// Seed of all random numbers here.
const SEED: u64 = 1;

/// Returns the complaints of an experiment of the quick run.
fn complaints<S: Subject>(experiment: Experiment) -> Vec<String> {
    let settings = Settings { extent: Extent::Quick, seed: SEED, threads: 2, progress: &|_, _| () };
    let mut results = Results::new(Extent::Quick, SEED);
    results.add(run::<S>(experiment, &settings).unwrap());
    let (promised, complaints) = results.verdict();
    println!("seed {SEED}: {} of {promised} promises fail", complaints.len());
    complaints
}

/// Implementation whose factor of transport is 1 % too large.
struct Overshot<S> {
    inner: S,
    y: Vec<f32>,
}

impl<S: Subject> Subject for Overshot<S> {
    fn start(shape: (usize, usize), geometry: Geometry, rule: &Rule, x: &[f32]) -> Result<Self> {
        Ok(Self { inner: S::start(shape, geometry, rule, x)?, y: x.to_vec() })
    }
    fn step(&mut self, gradients: &[f32]) {
        self.inner.step(gradients);
        for ((to, x), y) in self.y.iter_mut().zip(self.inner.x()).zip(self.inner.y()) {
            *to = x + 1.01 * (y - x);
        }
    }
    fn x(&self) -> &[f32] {
        self.inner.x()
    }
    fn y(&self) -> &[f32] {
        &self.y
    }
    fn m(&self) -> &[f32] {
        self.inner.m()
    }
}

/// Implementation whose momentum starts at 0 and takes 1 − β of the first gradient, as of all others. Its factor of
/// transport is the same.
struct FromZero<S> {
    inner: S,
    /// 1 − β, for the first step.
    first: Option<f32>,
}

impl<S: Subject> Subject for FromZero<S> {
    fn start(shape: (usize, usize), geometry: Geometry, rule: &Rule, x: &[f32]) -> Result<Self> {
        Ok(Self { inner: S::start(shape, geometry, rule, x)?, first: Some(1.0 - rule.keep(2)) })
    }
    fn step(&mut self, gradients: &[f32]) {
        // The oracle does not see the scale.
        let scale = self.first.take().unwrap_or(1.0);
        self.inner.step(&gradients.iter().map(|g| scale * g).collect::<Vec<_>>());
    }
    fn x(&self) -> &[f32] {
        self.inner.x()
    }
    fn y(&self) -> &[f32] {
        self.inner.y()
    }
    fn m(&self) -> &[f32] {
        self.inner.m()
    }
}

/// Implementation that takes normalised gradients for every oracle.
struct Normalised(Core);

impl Subject for Normalised {
    fn start(shape: (usize, usize), geometry: Geometry, rule: &Rule, x: &[f32]) -> Result<Self> {
        Core::start(shape, Geometry { norm: Norm::Frobenius, ..geometry }, rule, x).map(Self)
    }
    fn step(&mut self, gradients: &[f32]) {
        self.0.step(gradients);
    }
    fn x(&self) -> &[f32] {
        self.0.x()
    }
    fn y(&self) -> &[f32] {
        self.0.y()
    }
    fn m(&self) -> &[f32] {
        self.0.m()
    }
}

/// Asserts that one of the complaints begins with `beginning`.
#[track_caller]
fn assert_complains(complaints: &[String], beginning: &str) {
    assert!(complaints.iter().any(|complaint| complaint.starts_with(beginning)), "{beginning}: {complaints:#?}");
}

#[test]
fn a_transport_that_is_one_percent_too_long_is_found_out() {
    let complaints = complaints::<Overshot<Core>>(Experiment::Drift);
    assert_complains(&complaints, "measured/predicted, transported, 4×8, η/α = 0.01");
    // Without transport there is nothing to overshoot.
    assert!(!complaints.iter().any(|complaint| complaint.contains("plain")), "{complaints:#?}");
}

#[test]
fn a_momentum_that_starts_at_zero_is_found_out() {
    let complaints = complaints::<FromZero<Core>>(Experiment::Drift);
    assert_complains(&complaints, "measured/predicted at the start, transported, 4×8, η/α = 0.01");
    assert_complains(&complaints, "measured/predicted at the start, plain, 4×8, η/α = 0.01");
}

#[test]
fn normalised_gradients_are_found_out() {
    let complaints = complaints::<Normalised>(Experiment::Rank);
    assert_complains(&complaints, "slope in r, fixed N/r, plain");
    assert_complains(&complaints, "slope in r, fixed N/r, transported");
}

/// Estimates the characteristic function E e^{iuζ} of a law, as a mean over draws.
fn characteristic(law: Law, u: f64) -> (f64, f64) {
    const DRAWS: usize = 400_000;
    let (noise, mut generator) = (Noise::from(law), Generator::new(SEED, 9));
    let draws: Vec<f64> = (0..DRAWS).map(|_| noise.draw(&mut generator)).collect();
    (mean(draws.iter().map(|z| (u * z).cos())), mean(draws.iter().map(|z| (u * z).sin())))
}

#[test]
fn noise_has_the_laws_that_it_is_named_after() {
    // Means of 400,000 numbers in [−1, 1] are within 4 deviations, 0.0064.
    let close = |law: Law, u: f64, expected: (f64, f64)| {
        let found = characteristic(law, u);
        let distance = (found.0 - expected.0).abs().max((found.1 - expected.1).abs());
        assert!(distance < 0.0064, "seed {SEED}, {law:?} at {u}: {found:?}, {expected:?}");
    };
    for u in [0.3, 1.0, 2.0f64] {
        close(Law::Gaussian, u, ((-u * u / 2.0).exp(), 0.0));
        for p in [1.2, 1.5, 1.8f64] {
            // exp(−u^p (1 − i tan(πp/2))) of scale 1, skewness 1 and mean 0 (Samorodnitsky and Taqqu 1994, definition
            // 1.1.6).
            let (size, angle) = ((-u.powf(p)).exp(), u.powf(p) * (std::f64::consts::FRAC_PI_2 * p).tan());
            close(Law::Stable { p }, u, (size * angle.cos(), size * angle.sin()));
            // Two values with mean 0, one of which has the probability q, and E|ζ|^p = (1−q)q^(p−1) + (1−q)^p.
            let q = 0.1f64;
            let s = q.powf((p - 1.0) / p);
            let (high, low) = (s * (1.0 - q) / q, -s);
            let moment = q * high.powf(p) + (1.0 - q) * s.powf(p);
            assert!((moment - ((1.0 - q).powf(p) + (1.0 - q) * q.powf(p - 1.0))).abs() < 1e-12);
            let part = |f: fn(f64) -> f64| q * f(u * high) + (1.0 - q) * f(u * low);
            close(Law::Spike { p, q }, u, (part(f64::cos), part(f64::sin)));
        }
    }
}

/// Tests of the drift of the rule on libtorch, and of the same mistakes made there.
#[cfg(feature = "torch")]
mod libtorch {
    use super::{FromZero, Overshot, SEED};
    use graftage::error::Result;
    use graftage::optim::{Group, Groups, TransportedScion};
    use graftage::tensor::Arithmetic;
    use graftage::theory::Method;
    use graftage::theory::drift::{Drift, Path, measure};
    use graftage::theory::problem::Waves;
    use graftage::theory::subject::{Core, Subject};
    use graftage_core::random::Generator;
    use graftage_core::scion::{Geometry, Rule};
    use tch::{Device, Kind, Tensor, nn};

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
            let optimizer = TransportedScion::with_groups(named, *rule, arithmetic, &groups)?;
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
    fn on<S: Subject>(path: Path, method: Method) -> Drift {
        let waves = Waves::new((4, 8), 0.02, &mut Generator::new(SEED, 0)).unwrap();
        measure::<S>(&waves, method.transport(), 0.02, path).unwrap()
    }

    fn drift<S: Subject>(method: Method) -> Drift {
        on::<S>(Path { from: 0.5, to: 2.0 }, method)
    }

    fn assert_obeys(method: Method, drift: &Drift) {
        let Drift { start, steady } = drift;
        println!("seed {SEED}, {method:?}: {} {}", start.ratio(method), steady.ratio(method));
        assert!((0.95..1.05).contains(&start.ratio(method)), "{method:?} {start:?}");
        assert!((0.98..1.02).contains(&steady.ratio(method)), "{method:?} {steady:?}");
    }

    #[test]
    fn the_fast_optimizer_obeys_and_its_mistakes_are_found_out() {
        for method in Method::ALL {
            assert_obeys(method, &drift::<Torch<false>>(method));
        }
        let wrong = drift::<Overshot<Torch<false>>>(Method::Transported).steady;
        assert!(wrong.ratio(Method::Transported) > 1.05, "{wrong:?}");
        let wrong = drift::<FromZero<Torch<false>>>(Method::Transported).start;
        assert!(wrong.ratio(Method::Transported) > 1.05, "{wrong:?}");
    }

    /// Shows that it obeys what core obeys, and that core's mistakes would change the drift here in the same way.
    #[test]
    fn the_exact_optimizer_has_cores_bits() {
        for method in Method::ALL {
            assert_obeys(method, &drift::<Core>(method));
            let short = || Path { from: 0.05, to: 0.1 };
            assert_eq!(on::<Torch<true>>(short(), method), on::<Core>(short(), method), "{method:?}");
        }
    }
}
