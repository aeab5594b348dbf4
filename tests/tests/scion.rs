//! Tests of the transported step: the equations of the method, its bounds, and its start.

mod common;
mod oracle;

use common::{LAWS, NORMS, PULLS, advance, exact, fixed, pull, started};
use graftage_core::error::{Field, Refusal};
use graftage_core::matrix::{FixedMatrix, Matrix, RowMajor, Slab, square};
use graftage_core::norm::{Norm, Workspace, with_workspace, workspace};
use graftage_core::polar::Quintics;
use graftage_core::random::{Generator, State};
use graftage_core::schedule::{Momentum, Schedule};
use graftage_core::scion::{Geometry, LARGEST, Pull, Role, Rule};
use graftage_core::transport::{Alignment, Transport};
use nalgebra::DMatrix;
use oracle::{Random, Worst, bits, real, tolerance};

/// Returns rules with every law of transport and every pull, each with the law's definition in the oracle.
fn rules() -> impl Iterator<Item = (Rule, oracle::Law)> {
    LAWS.into_iter().flat_map(|(transport, law)| {
        PULLS.map(|pull| {
            let momentum = Momentum::Constant(0.8);
            (Rule { step_size: 0.05, momentum, transport, pull, ..Rule::PLAIN }, law)
        })
    })
}

/// Schedule and momentum, each followed by its definition in the oracle.
type Course = (Schedule, Momentum, fn(u32) -> f64, fn(u32) -> f64);

const COURSES: [Course; 3] = [
    (Schedule::Constant, Momentum::Constant(0.8), |_| 0.05f32.into(), |_| 0.8f32.into()),
    (
        Schedule::Linear { steps: 60 },
        Momentum::Ramp { from: 0.5, to: 0.9, steps: 20 },
        |t| f64::from(0.05f32) * (1.0 - f64::from(t - 1) / 60.0),
        |t| 0.5 + (f64::from(0.9f32) - 0.5) * (f64::from(t - 1) / 20.0).min(1.0),
    ),
    (
        Schedule::WarmupStableDecay { warmup: 10, stable: 20, decay: 25 },
        Momentum::Power { exponent: 0.75 },
        |t| f64::from(0.05f32) * (f64::from(t) / 10.0).min(1.0).min(1.0 - (f64::from(t) - 31.0).max(0.0) / 25.0),
        |t| 1.0 - f64::from(t).powf(-0.75),
    ),
];

/// Calls a function with a shape as its parameters, for several shapes.
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
        for (seed, (rule, law)) in rules().enumerate() {
            for ((norm, exact_norm), (schedule, momentum, step_size_at, beta)) in
                NORMS.into_iter().flat_map(|norm| COURSES.map(|course| (norm, course)))
            {
                let rule = Rule { schedule, momentum, ..rule };
                if rule.check().is_err() {
                    // The lag law is refused with a momentum that starts below its memory.
                    assert!(matches!(momentum, Momentum::Power { .. }) && matches!(law, oracle::Law::Lag(_)));
                    continue;
                }
                let mut random = Random::new(seed as u64);
                let (x, target) = (random.vector(M * N), random.matrix(M, N));
                let geometry = Geometry { norm, radius: 2.5 };
                let (mut state, mut alignment) = (started::<M, N>(&x), Alignment::START);
                let (pull, anchor) = pull(rule.pull, &real((M, N), &x));
                let mut oracle = oracle::Scion {
                    norm: exact_norm,
                    radius: 2.5,
                    step: step_size_at,
                    momentum: beta,
                    law,
                    pull,
                    anchor,
                    t: 1,
                    x: real((M, N), &x),
                    d: DMatrix::zeros(M, N),
                    m: DMatrix::zeros(M, N),
                    z: real((M, N), &x),
                    cosines: Vec::new(),
                };
                let unit = 2.5 * f64::from(norm.factor((M, N)));
                for t in 1..=50 {
                    let query = if rule.transport == Transport::Nesterov { &state.x } else { &state.y };
                    let query = exact(query);
                    worst.see((&query - oracle.y()).amax() / unit);
                    // Three noisy gradients of ½‖Y − target‖²; core and oracle each take them at their own query point.
                    let noise: [_; 3] = std::array::from_fn(|_| random.matrix(M, N) - &target);
                    for (i, noise) in noise.iter().enumerate() {
                        let keep = if i == 0 { rule.keep(t) } else { 1.0 };
                        let gradient = fixed(&oracle::rounded(&(&query + noise)));
                        state.accumulate(keep, rule.weight(t, 3), &gradient);
                    }
                    oracle.advance(&(oracle.y() + (&noise[0] + &noise[1] + &noise[2]) / 3.0));
                    advance(&mut state, geometry, &rule, t, &fixed(&x), &mut alignment);
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
fn with_full_transport_the_average_of_the_query_points_is_x_whatever_momentum_does() {
    // Computes the factor from the weights of the gradients: W_t = β_t W_{t−1} + (1 − β_t), c_t = β_t W_{t−1}/(1 −
    // β_t).
    for (_, momentum, _, beta) in COURSES {
        let rule = Rule { momentum, transport: Transport::Fixed { theta: 1.0 }, ..Rule::PLAIN };
        let (mut random, mut x, mut average, mut weight) = (Random::new(12), 0.0, 0.0, 0.0);
        let mut before = 0.0;
        for t in 1..=40u32 {
            let beta = if t == 1 { 0.0 } else { beta(t) };
            let c = beta * weight / (1.0 - beta);
            weight = beta * weight + (1.0 - beta);
            let lead = rule.transport.lead(rule.keep(u64::from(t) - 1), rule.keep(t.into()));
            assert!((f64::from(lead.ahead) - c).abs() < 1e-5 * (1.0 + c), "{momentum:?}, step {t}");
            // Path with random turns.
            let y = x + c * (x - before);
            average = beta * average + (1.0 - beta) * y;
            assert!((average - x).abs() < 1e-12, "{momentum:?}, step {t}");
            (before, x) = (x, x + random.uniform());
        }
    }
}

#[test]
fn a_frozen_parameter_keeps_every_bit() {
    for (rule, _) in rules() {
        let mut random = Random::new(13);
        let mut state = started::<3, 7>(&random.vector(21));
        state.accumulate(0.0, 1.0, &fixed(&random.vector(21)));
        let before = state.clone();
        advance(&mut state, Geometry::FROZEN, &rule, 1, &[[0.5; 7]; 3], &mut { Alignment::START });
        assert_eq!(state, before);
    }
}

#[test]
fn without_transport_it_is_scion_to_the_bit() {
    fn scion<const M: usize, const N: usize>() {
        for (rule, _) in rules().filter(|(rule, _)| rule.transport == Transport::Fixed { theta: 0.0 }) {
            for (norm, _) in NORMS {
                let mut random = Random::new(3);
                let geometry = Geometry { norm, radius: 3.0 };
                let mut state = started::<M, N>(&random.vector(M * N));
                // Scion written with matrix operations alone.
                let (start, mut x, mut m) = (state.x, state.x, state.m);
                for t in 1..=20 {
                    let gradient = fixed(&random.vector(M * N));
                    state.accumulate(rule.keep(t), rule.weight(t, 1), &gradient);
                    advance(&mut state, geometry, &rule, t, &start, &mut { Alignment::START });

                    let beta = if t == 1 { 0.0 } else { 0.8 };
                    m.combine(beta, 1.0 - beta, &gradient);
                    let nan = || vec![f32::NAN; square(M.min(N))];
                    let mut direction = [[f32::NAN; N]; M];
                    let squares = [&mut nan()[..], &mut nan(), &mut nan()];
                    norm.direction(&m, Quintics::DEFAULT, &mut Workspace { direction: &mut direction, squares });
                    // V is rounded before it is added.
                    let gain = -(0.05 * 3.0 * norm.factor((M, N)));
                    for ((x, u), start) in x.elements_mut().iter_mut().zip(direction.elements()).zip(start.elements()) {
                        let step = gain * u;
                        let pull = match rule.pull {
                            Pull::None => None,
                            Pull::Zero { strength } => Some(-(strength * 0.05) * *x),
                            Pull::Start { strength } => Some(strength * 0.05 * (start - *x)),
                        };
                        *x += pull.map_or(step, |pull| step + pull);
                    }
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
    let full = Transport::Fixed { theta: 1.0 };
    let rule = Rule { momentum: Momentum::Constant(0.99), transport: full, ..Rule::PLAIN };
    let mut random = Random::new(4);
    let mut state = started::<3, 7>(&random.vector(21));
    assert_eq!((state.y, state.m), (state.x, [[0.0; 7]; 3]));
    // The previous momentum does not matter.
    state.m = fixed(&random.vector(21));
    let gradient = fixed(&random.vector(21));
    state.accumulate(rule.keep(1), rule.weight(1, 1), &gradient);
    assert_eq!(state.m, gradient);
    assert_eq!([1, 2, 3].map(|t| rule.keep(t)), [0.0, 0.99, 0.99]);
    assert_eq!([1, 2, 3].map(|t| rule.weight(t, 4)), [0.25, (1.0 - 0.99) / 4.0, (1.0 - 0.99) / 4.0]);
    assert_eq!(rule.transport.lead(0.99, 0.99).ahead, 0.99 / (1.0 - 0.99));
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
fn pulled_weights_never_leave_the_ball_and_no_step_movements_beyond_its_bound() {
    fn stay<const M: usize, const N: usize>(ball: &mut Worst, movement: &mut Worst) {
        for (seed, (rule, _)) in rules().enumerate() {
            for (norm, of) in NORMS {
                let mut random = Random::new(10 + seed as u64);
                let (geometry, step) = (Geometry { norm, radius: 2.0 }, f64::from(rule.step_size));
                let mut state = started::<M, N>(&random.vector(M * N));
                let mut generator = Generator::new(1, 1);
                state.initialise(geometry, Role::Weights, &mut generator, &mut vec![0.0; workspace(M, N)]);
                let (mut alignment, start) = (Alignment::START, state.x);
                let (strength, anchor) = pull(rule.pull, &exact(&start));
                let bound = f64::from(rule.movement(1)) * 2.0;
                let exact_bound = step * 2.0 * if rule.pull == Pull::None { 1.0 } else { 2.0 };
                assert!(bound >= exact_bound && bound < 1.001 * exact_bound);
                for t in 1..=500 {
                    // For long stretches the gradient pushes outwards.
                    let push = if t % 100 < 50 { 0.02 } else { 1.0 };
                    let gradient = oracle::rounded(&((t / 50) as f64 * push * random.matrix(M, N)).add_scalar(0.1));
                    state.accumulate(rule.keep(t), rule.weight(t, 1), &fixed(&gradient));
                    let before = exact(&state.x);
                    advance(&mut state, geometry, &rule, t, &start, &mut alignment);
                    movement.see(of.of(&(exact(&state.x) - before)) / bound - 1.0);
                    if strength > 0.0 {
                        ball.see(of.of(&(exact(&state.x) - &anchor)) * strength / 2.0 - 1.0);
                    }
                }
            }
        }
    }
    let (mut ball, mut movement) = (Worst::default(), Worst::default());
    shapes!(stay(&mut ball, &mut movement));
    ball.at_most("ball", tolerance::OVERSHOOT);
    movement.at_most("movement", tolerance::MOVEMENT);
}

#[test]
fn random_weights_start_on_the_sphere_biases_at_zero_and_gains_at_one() {
    fn start<const M: usize, const N: usize>(worst: &mut Worst) {
        for (norm, of) in NORMS {
            let mut state = started::<M, N>(&Random::new(6).vector(M * N));
            state.m = state.x;
            let mut generator = Generator::new(7, 0);
            let memory = &mut vec![f32::NAN; workspace(M, N)];
            let geometry = Geometry { norm, radius: 3.0 };
            for (role, start) in [(Role::Bias, 0.0), (Role::Gain, 1.0)] {
                state.initialise(geometry, role, &mut generator, memory);
                assert_eq!((state.x, generator.state().draws), ([[start; N]; M], 0));
            }
            state.initialise(geometry, Role::Weights, &mut generator, memory);
            {
                worst.see((of.of(&exact(&state.x)) / 3.0 - 1.0).abs());
                // −ρ lmo(R), with R drawn row by row.
                let mut pcg = oracle::Pcg::new(7, 0);
                let r = DMatrix::from_row_iterator(
                    M,
                    N,
                    (0..M * N).map(|_| f64::from(pcg.bits() >> 8) / f64::from(1 << 23) - 1.0),
                );
                worst.see((exact(&state.x) + 3.0 * of.lmo(&r)).amax());
                assert_eq!(generator.state().draws, (M * N) as u64);
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
    // Direction and squares of three rows in panels of four; a third square if one side is at least twice the other.
    assert_eq!([workspace(3, 7), workspace(7, 4), workspace(1, 1)], [21 + 3 * 12, 28 + 2 * 16, 1 + 2 * 4]);
    for length in 0..workspace(3, 7) {
        assert!(with_workspace((3, 7), &mut vec![0.0; length], |_| ()).is_none());
        let mut state = started::<3, 7>(&Random::new(8).vector(21));
        (state.m, state.y) = (state.x, [[9.0; 7]; 3]);
        let (before, mut generator) = (state.clone(), Generator::new(1, 2));
        state.initialise(Geometry::HIDDEN, Role::Weights, &mut generator, &mut vec![0.0; length]);
        assert_eq!((&state, generator.state()), (&before, State { seed: 1, stream: 2, draws: 0 }), "{length} numbers");
    }
    let parts = with_workspace((3, 7), &mut [0.0; 57], |work| {
        (RowMajor::shape(work.direction), work.squares.each_ref().map(|square| square.len()))
    });
    assert_eq!(parts, Some(((3, 7), [12, 12, 12])));
}

#[test]
fn views_move_the_state_that_they_show() {
    let mut random = Random::new(9);
    let (mut state, rule) = (started::<7, 4>(&random.vector(28)), Rule::PLAIN);
    let mut seen = state.clone();
    let mut alignments = [Alignment::START, Alignment::START];
    for t in 1..=5 {
        let gradient = random.vector(28);
        state.accumulate(rule.keep(t), rule.weight(t, 1), &fixed(&gradient));
        advance(&mut state, Geometry::HIDDEN, &rule, t, &[[0.0; 4]; 7], &mut alignments[0]);
        let mut gradient = gradient;
        let gradient = Slab::new(7, 4, gradient.as_mut_slice()).unwrap();
        seen.slabs().accumulate(rule.keep(t), rule.weight(t, 1), &gradient);
        let mut memory = [f32::NAN; workspace(7, 4)];
        let mut view = seen.slabs();
        let alignment = &mut alignments[1];
        with_workspace((7, 4), &mut memory, |work| view.advance(Geometry::HIDDEN, &rule, t, None, alignment, work))
            .unwrap();
        assert_eq!(state, seen);
    }
}

#[test]
fn constants_outside_their_ranges_are_refused() {
    let default = Rule::PLAIN;
    let nan = f32::NAN;
    for step in [0.0, -0.0, -0.01, nan, f32::INFINITY, LARGEST.next_up()] {
        assert_eq!(Rule { step_size: step, ..default }.check(), Err(Refusal::Recipe(Field::Step)), "{step}");
    }
    for beta in [-0.1, 1.0, nan, f32::INFINITY] {
        for momentum in [
            Momentum::Constant(beta),
            Momentum::Ramp { from: beta, to: 0.5, steps: 3 },
            Momentum::Ramp { from: 0.5, to: beta, steps: 3 },
            Momentum::Ramp { from: 0.5, to: 0.5, steps: 0 },
            Momentum::Power { exponent: if beta == 1.0 { 0.0 } else { beta } },
        ] {
            assert_eq!(Rule { momentum, ..default }.check(), Err(Refusal::Recipe(Field::Momentum)), "{momentum:?}");
        }
    }
    let check = |transport| Rule { transport, ..default }.check();
    for theta in [-0.1, 1.0f32.next_up(), nan] {
        assert_eq!(check(Transport::Fixed { theta }), Err(Refusal::Recipe(Field::Theta)), "{theta}");
    }
    for memory in [-0.1, 0.9, nan] {
        assert_eq!(check(Transport::Lag { memory }), Err(Refusal::Recipe(Field::Memory)), "{memory}");
    }
    for damping in [-0.1, f32::INFINITY, nan] {
        assert_eq!(check(Transport::Alignment { damping }), Err(Refusal::Recipe(Field::Damping)), "{damping}");
    }
    for pull in [|strength| Pull::Zero { strength }, |strength| Pull::Start { strength }] {
        let check = |step, strength| Rule { step_size: step, pull: pull(strength), ..default }.check();
        for (step, strength) in [(1.0, 1.0), (7.0, 0.125), (0.25, 4.0), (LARGEST, 1e-45)] {
            assert_eq!(check(step, strength), Ok(()), "{step}, {strength}");
        }
        for (step, strength) in [
            (1.0f32.next_up(), 1.0),
            (1.0, 1.0f32.next_up()),
            (0.01, 0.0),
            (0.01, -1.0),
            (0.01, nan),
            (0.01, f32::INFINITY),
            (0.01, -0.0),
            (1e-45, f32::INFINITY),
        ] {
            assert_eq!(check(step, strength), Err(Refusal::Recipe(Field::Pull)), "{step}, {strength}");
        }
    }
    assert_eq!(Rule { step_size: 7.0, ..default }.check(), Ok(()));
    let (beta, transport) = (1.0f32.next_down(), Transport::Fixed { theta: 1.0 });
    let momentum = Momentum::Constant(beta);
    let pull = Pull::Zero { strength: 1.0 };
    let extreme = Rule { step_size: 1e-45, momentum, transport, pull, ..default };
    assert_eq!((extreme.check(), transport.lead(beta, beta).ahead), (Ok(()), 16_777_215.0));
    for radius in [-1.0, nan, f32::INFINITY, LARGEST.next_up()] {
        let geometry = Geometry { radius, ..Geometry::HIDDEN };
        assert_eq!(geometry.check(), Err(Refusal::Recipe(Field::Radius)), "{radius}");
    }
    let taps = |taps| Geometry { norm: Norm::Convolution { taps }, radius: 1.0 }.check();
    assert_eq!((taps(0), taps(1), taps(u32::MAX)), (Err(Refusal::Recipe(Field::Taps)), Ok(()), Ok(())));
    let usual = [(Role::Weights, false), (Role::Weights, true), (Role::Bias, false), (Role::Gain, true)];
    assert_eq!(
        usual.map(|(role, last)| Geometry::usual(role, last)),
        [Geometry::HIDDEN, Geometry::HEAD, Geometry::BIAS, Geometry::BIAS]
    );
    assert_eq!(Geometry::usual(Role::Convolution { taps: 5 }, false).norm, Norm::Convolution { taps: 5 });
    assert_eq!((Geometry::FROZEN.check(), Geometry::FROZEN.is_frozen()), (Ok(()), true));
}
