//! The transported step: the equations of the method, its bounds, and where it starts.

mod oracle;

use graftage_core::error::{Field, Refusal};
use graftage_core::matrix::{FixedMatrix, Matrix, RowMajor, Slab};
use graftage_core::norm::Norm;
use graftage_core::random::Generator;
use graftage_core::scion::{Geometry, LARGEST, Rule, Scion, Workspace, with_workspace, workspace};
use nalgebra::DMatrix;
use oracle::{Random, Worst, bits, real, tolerance};

const NORMS: [(Norm, oracle::Norm); 3] =
    [(Norm::Spectral, oracle::Norm::Spectral), (Norm::Sign, oracle::Norm::Sign), (Norm::Rms, oracle::Norm::Rms)];

/// A parameter of shape m×n, started from weights.
fn started<const M: usize, const N: usize>(x: &[f32]) -> Scion<FixedMatrix<M, N>> {
    let mut state = Scion { x: fixed(x), y: [[f32::NAN; N]; M], m: [[f32::NAN; N]; M] };
    state.start();
    state
}

fn fixed<const M: usize, const N: usize>(rows: &[f32]) -> FixedMatrix<M, N> {
    let mut fixed = [[0.0; N]; M];
    fixed.elements_mut().copy_from_slice(rows);
    fixed
}

/// [`Scion::advance`] with a workspace of its own.
fn advance<const M: usize, const N: usize>(state: &mut Scion<FixedMatrix<M, N>>, geometry: Geometry, rule: &Rule) {
    let squares = &mut vec![f32::NAN; 2 * M.min(N).pow(2)];
    let (gram, poly) = squares.split_at_mut(M.min(N).pow(2));
    state.advance(geometry, rule, &mut Workspace { direction: &mut [[f32::NAN; N]; M], gram, poly });
}

fn exact<const M: usize, const N: usize>(a: &FixedMatrix<M, N>) -> DMatrix<f64> {
    real((M, N), a.elements())
}

/// All kinds of rules.
fn rules() -> impl Iterator<Item = Rule> {
    [0.0, 0.25, 1.0]
        .into_iter()
        .flat_map(|theta| [false, true].map(|constrained| Rule { step: 0.05, momentum: 0.8, theta, constrained }))
}

/// Calls a function of a shape for several shapes.
macro_rules! shapes {
    ($name:ident($($argument:expr),*)) => {
        $name::<3, 7>($($argument),*);
        $name::<7, 4>($($argument),*);
        $name::<1, 9>($($argument),*);
    };
}

#[test]
fn fifty_steps_follow_the_equations() {
    fn follow<const M: usize, const N: usize>(worst: &mut Worst) {
        for (seed, rule) in rules().enumerate() {
            for (norm, exact_norm) in NORMS {
                let mut random = Random::new(seed as u64);
                let (x, target) = (random.vector(M * N), random.matrix(M, N));
                let geometry = Geometry { norm, radius: 2.5 };
                let mut state = started::<M, N>(&x);
                let mut oracle = oracle::Scion {
                    norm: exact_norm,
                    radius: 2.5,
                    step: f64::from(rule.step),
                    momentum: f64::from(rule.momentum),
                    theta: f64::from(rule.theta),
                    constrained: rule.constrained,
                    t: 1,
                    x: real((M, N), &x),
                    d: DMatrix::zeros(M, N),
                    m: DMatrix::zeros(M, N),
                };
                let unit = 2.5 * f64::from(norm.factor((M, N)));
                for t in 1..=50 {
                    worst.see((exact(&state.y) - oracle.y()).amax() / unit);
                    // Three noisy gradients of ½‖Y − target‖², each at one's own query point.
                    let noise: [_; 3] = std::array::from_fn(|_| random.matrix(M, N) - &target);
                    for (i, noise) in noise.iter().enumerate() {
                        let keep = if i == 0 { rule.keep(t) } else { 1.0 };
                        let gradient = fixed(&oracle::rounded(&(exact(&state.y) + noise)));
                        state.accumulate(keep, rule.weight(t, 3), &gradient);
                    }
                    oracle.advance(&(oracle.y() + (&noise[0] + &noise[1] + &noise[2]) / 3.0));
                    advance(&mut state, geometry, &rule);
                    worst.see((exact(&state.x) - &oracle.x).amax() / unit);
                    worst.see((exact(&state.m) - &oracle.m).amax());
                }
            }
        }
    }
    let mut worst = Worst::default();
    shapes!(follow(&mut worst));
    worst.at_most("trajectory", tolerance::TRAJECTORY);
}

#[test]
fn without_transport_it_is_scion_to_the_bit() {
    fn scion<const M: usize, const N: usize>() {
        for rule in rules().filter(|rule| rule.theta == 0.0) {
            for (norm, _) in NORMS {
                let mut random = Random::new(3);
                let geometry = Geometry { norm, radius: 3.0 };
                let mut state = started::<M, N>(&random.vector(M * N));
                // Scion, with the operations of a matrix alone.
                let (mut x, mut m) = (state.x, state.m);
                for t in 1..=20 {
                    let gradient = fixed(&random.vector(M * N));
                    state.accumulate(rule.keep(t), rule.weight(t, 1), &gradient);
                    advance(&mut state, geometry, &rule);

                    let beta = if t == 1 { 0.0 } else { 0.8 };
                    m.combine(beta, 1.0 - beta, &gradient);
                    let mut direction = m;
                    let square = || vec![0.0; M.min(N).pow(2)];
                    norm.direction(&mut direction, &mut square(), &mut square());
                    let shrink = if rule.constrained { 1.0 - 0.05 } else { 1.0 };
                    x.combine(shrink, -(0.05 * 3.0 * norm.factor((M, N))), &direction);
                    assert_eq!(bits(state.x.elements()), bits(x.elements()));
                    assert_eq!(bits(state.m.elements()), bits(m.elements()));
                    assert_eq!(state.y, state.x);
                }
            }
        }
    }
    shapes!(scion());
}

#[test]
fn the_first_gradient_is_taken_at_x_and_starts_the_momentum_whole() {
    let rule = Rule { momentum: 0.99, theta: 1.0, ..Rule::DEFAULT };
    let mut random = Random::new(4);
    let mut state = started::<3, 7>(&random.vector(21));
    assert_eq!((state.y, state.m), (state.x, [[0.0; 7]; 3]));
    // What was there before does not matter.
    state.m = fixed(&random.vector(21));
    let gradient = fixed(&random.vector(21));
    state.accumulate(rule.keep(1), rule.weight(1, 1), &gradient);
    assert_eq!(state.m, gradient);
    assert_eq!([1, 2, 3].map(|t| rule.keep(t)), [0.0, 0.99, 0.99]);
    assert_eq!([1, 2, 3].map(|t| rule.weight(t, 4)), [0.25, (1.0 - 0.99) / 4.0, (1.0 - 0.99) / 4.0]);
    assert_eq!(rule.transport(), 0.99 / (1.0 - 0.99));
}

#[test]
fn gradients_of_samples_accumulate_in_their_order_to_the_bit() {
    let mut random = Random::new(5);
    let mut state = started::<4, 5>(&random.vector(20));
    state.m = fixed(&random.wide(20));
    let mut expected = state.m;
    for (i, keep) in [0.9, 1.0, 1.0, 1.0].into_iter().enumerate() {
        let gradient: FixedMatrix<4, 5> = fixed(&random.wide(20));
        state.accumulate(keep, 0.025, &gradient);
        for (m, g) in expected.elements_mut().iter_mut().zip(gradient.elements()) {
            let (old, new) = (if i == 0 { 0.9 * *m } else { *m }, 0.025 * g);
            *m = old + new;
        }
        assert_eq!(bits(state.m.elements()), bits(expected.elements()));
    }
}

#[test]
fn constrained_weights_never_leave_the_ball_and_no_step_drifts_beyond_its_bound() {
    fn stay<const M: usize, const N: usize>(ball: &mut Worst, drift: &mut Worst) {
        for (seed, rule) in rules().enumerate() {
            for (norm, of) in NORMS {
                let mut random = Random::new(10 + seed as u64);
                let (geometry, step) = (Geometry { norm, radius: 2.0 }, f64::from(rule.step));
                let mut state = started::<M, N>(&random.vector(M * N));
                let mut generator = Generator::new(1, 1);
                state.initialise(geometry, &mut generator, &mut vec![0.0; workspace(M, N)]);
                let bound = step * 2.0 * if rule.constrained { 2.0 } else { 1.0 };
                for t in 1..=500 {
                    // At times a gradient that pushes outwards for long.
                    let push = if t % 100 < 50 { 0.02 } else { 1.0 };
                    let gradient = oracle::rounded(&((t / 50) as f64 * push * random.matrix(M, N)).add_scalar(0.1));
                    state.accumulate(rule.keep(t), rule.weight(t, 1), &fixed(&gradient));
                    let before = exact(&state.x);
                    advance(&mut state, geometry, &rule);
                    drift.see(of.of(&(exact(&state.x) - before)) / bound - 1.0);
                    if rule.constrained {
                        ball.see(of.of(&exact(&state.x)) / 2.0 - 1.0);
                    }
                }
            }
        }
    }
    let (mut ball, mut drift) = (Worst::default(), Worst::default());
    shapes!(stay(&mut ball, &mut drift));
    ball.at_most("ball", tolerance::OVERSHOOT);
    drift.at_most("drift", tolerance::DRIFT);
}

#[test]
fn random_weights_start_on_the_sphere_and_biases_at_zero() {
    fn start<const M: usize, const N: usize>(worst: &mut Worst) {
        for (norm, of) in NORMS {
            let mut state = started::<M, N>(&Random::new(6).vector(M * N));
            state.m = state.x;
            let mut generator = Generator::new(7, 0);
            state.initialise(Geometry { norm, radius: 3.0 }, &mut generator, &mut vec![f32::NAN; workspace(M, N)]);
            if norm == Norm::Rms {
                assert_eq!((state.x, generator.state().2), ([[0.0; N]; M], 0));
            } else {
                worst.see((of.of(&exact(&state.x)) / 3.0 - 1.0).abs());
                // −ρ lmo(R), R drawn row by row.
                let mut pcg = oracle::Pcg::new(7, 0);
                let r = DMatrix::from_row_iterator(
                    M,
                    N,
                    (0..M * N).map(|_| f64::from(pcg.bits() >> 8) / f64::from(1 << 23) - 1.0),
                );
                worst.see((exact(&state.x) + 3.0 * of.lmo(&r)).amax());
                assert_eq!(generator.state().2, (M * N) as u64);
            }
            assert_eq!((state.y, state.m), (state.x, [[0.0; N]; M]));
        }
    }
    let mut worst = Worst::default();
    shapes!(start(&mut worst));
    worst.at_most("initial weights", tolerance::POLAR);
}

#[test]
fn too_short_a_scratch_memory_changes_nothing() {
    assert_eq!([workspace(3, 7), workspace(7, 3), workspace(1, 1)], [21 + 18, 21 + 18, 3]);
    for length in 0..workspace(3, 7) {
        assert!(with_workspace((3, 7), &mut vec![0.0; length], |_| ()).is_none());
        let mut state = started::<3, 7>(&Random::new(8).vector(21));
        (state.m, state.y) = (state.x, [[9.0; 7]; 3]);
        let (before, mut generator) = (state.clone(), Generator::new(1, 2));
        state.initialise(Geometry::HIDDEN, &mut generator, &mut vec![0.0; length]);
        assert_eq!((&state, generator.state()), (&before, (1, 2, 0)), "{length} numbers");
    }
    let parts = with_workspace((3, 7), &mut [0.0; 39], |work| {
        (RowMajor::shape(work.direction), work.gram.len(), work.poly.len())
    });
    assert_eq!(parts, Some(((3, 7), 9, 9)));
}

#[test]
fn views_move_the_state_that_they_show() {
    let mut random = Random::new(9);
    let (mut state, rule) = (started::<7, 4>(&random.vector(28)), Rule::DEFAULT);
    let mut seen = state.clone();
    for t in 1..=5 {
        let gradient = random.vector(28);
        state.accumulate(rule.keep(t), rule.weight(t, 1), &fixed(&gradient));
        advance(&mut state, Geometry::HIDDEN, &rule);
        let mut gradient = gradient;
        let gradient = Slab::new(7, 4, gradient.as_mut_slice()).unwrap();
        seen.slabs().accumulate(rule.keep(t), rule.weight(t, 1), &gradient);
        let mut memory = [f32::NAN; workspace(7, 4)];
        let mut view = seen.slabs();
        with_workspace((7, 4), &mut memory, |work| view.advance(Geometry::HIDDEN, &rule, work)).unwrap();
        assert_eq!(state, seen);
    }
}

#[test]
fn constants_outside_their_ranges_are_refused() {
    let default = Rule::default();
    let nan = f32::NAN;
    for step in [0.0, -0.0, -0.01, nan, f32::INFINITY, LARGEST.next_up()] {
        assert_eq!(Rule { step, ..default }.check(), Err(Refusal::Recipe(Field::Step)), "{step}");
    }
    for momentum in [-0.1, 1.0, nan, f32::INFINITY] {
        assert_eq!(Rule { momentum, ..default }.check(), Err(Refusal::Recipe(Field::Momentum)), "{momentum}");
    }
    for theta in [-0.1, 1.0f32.next_up(), nan] {
        assert_eq!(Rule { theta, ..default }.check(), Err(Refusal::Recipe(Field::Theta)), "{theta}");
    }
    for (step, constrained, good) in [(1.0, true, true), (1.0f32.next_up(), true, false), (7.0, false, true)] {
        assert_eq!(Rule { step, constrained, ..default }.check().is_ok(), good, "{step}");
    }
    let extreme = Rule { step: 1e-45, momentum: 1.0f32.next_down(), theta: 1.0, constrained: true };
    assert_eq!((extreme.check(), extreme.transport()), (Ok(()), 16_777_215.0));
    for radius in [0.0, -1.0, nan, f32::INFINITY, LARGEST.next_up()] {
        let geometry = Geometry { radius, ..Geometry::HIDDEN };
        assert_eq!(geometry.check(), Err(Refusal::Recipe(Field::Radius)), "{radius}");
    }
    let usual = [((5, 4), false), ((5, 4), true), ((1, 4), false), ((1, 4), true)];
    assert_eq!(
        usual.map(|(shape, last)| Geometry::usual(shape, last)),
        [Geometry::HIDDEN, Geometry::HEAD, Geometry::BIAS, Geometry::BIAS]
    );
    assert_eq!(Geometry::UNSET.check(), Err(Refusal::Recipe(Field::Radius)));
}
