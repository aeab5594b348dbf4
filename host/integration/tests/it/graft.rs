//! Tests of checkpoints, and of what is grafted from them.

use crate::common::{Folder, SCALE, bits, checkpoint, layers, parse, samples};
use graftage::checkpoint::Checkpoint;
use graftage::data::{Normalisation, Wide};
use graftage::graft::{Capacities, IMAGE, NETWORK, SAMPLES, graft, network};
use graftage::network::Layers;
use graftage::workstation::{self, start, trained};
use graftage_core::adapt::{HoldOut, Recipe};
use graftage_core::matrix::RowMajor;
use graftage_core::network::{Dense, Fixed, Kind, Layer, Parameter};
use graftage_core::schedule::Schedule;
use graftage_core::scion::{Geometry, Rule};
use safetensors::{Dtype, SafeTensors};

/// Network of the demo, compiled as the firmware compiles it.
mod demo {
    include!("../../../../firmware/network.rs");
}

const RECIPE: Recipe = Recipe {
    rule: Rule { step_size: 0.04, ..Rule::PLAIN },
    batch: 5,
    steps: 3,
    replay: 77,
    seed: u64::MAX,
    ..Recipe::DEFAULT
};

#[test]
fn the_radii_of_the_last_layers_follow_the_scale_of_their_weights() {
    let (mut checkpoint, folder) = (checkpoint(&[4, 6, 3], 40), Folder::empty());
    // Weights of rank one: σ = 0.1·√(1² + … + 6²)·√(1² + … + 4²).
    checkpoint.tensors[0].elements = (0..24).map(|k| 0.1 * ((k / 4 + 1) * (k % 4 + 1)) as f32).collect();
    checkpoint.tensors[2].elements = (0..18).map(|k| if k == 7 { -2.05 } else { 0.3 }).collect();
    let hidden = 0.1 * (91.0f32 * 30.0).sqrt() / (6.0f32 / 4.0).sqrt() / 4.0;
    let head = 6.0 * 2.05;
    for (learning, expected) in [
        (usize::MAX, [3.0, 1.0, 10.0, 1.0]),
        (2, [hidden, hidden / 3.0, head, head / 10.0]),
        (1, [0.0, 0.0, head, head / 10.0]),
    ] {
        let header = graft(&checkpoint, RECIPE, learning, &folder.path("model")).unwrap();
        for (geometry, expected) in header.geometries.iter().zip(expected) {
            assert!((geometry.radius - expected).abs() <= 0.01 * expected, "{learning}: {geometry:?}, not {expected}");
        }
    }
    // Weights of zero get the usual radii.
    checkpoint.tensors[2].elements.fill(0.0);
    let header = graft(&checkpoint, RECIPE, 1, &folder.path("model")).unwrap();
    assert_eq!((header.geometries[2].radius, header.geometries[3].radius), (10.0, 1.0));
}

#[test]
fn the_type_in_the_firmware_is_the_one_that_graft_writes() {
    let capacities = Capacities { replay: 128, held_out: 32 };
    assert_eq!(network(&layers(&[64, 32, 10]), capacities), include_str!("../../../../firmware/network.rs"));
    assert_eq!((demo::REPLAY, demo::HELD_OUT), (128, 32));
    assert_eq!(demo::SCHEMA, Kind::schema(&layers(&[64, 32, 10])));
    assert_eq!((demo::Network::INPUTS, demo::Network::OUTPUTS), (64, 10));
}

#[test]
fn image_and_type_are_written_side_by_side_with_one_schema() {
    let (folder, checkpoint) = (Folder::empty(), checkpoint(&[4, 6, 3], 5));
    let header = graft(&checkpoint, RECIPE, usize::MAX, &folder.path("a/model")).unwrap();
    let text = std::fs::read_to_string(folder.path("a/model").join(NETWORK)).unwrap();
    assert_eq!(text, network(&checkpoint.about.layers().unwrap(), Capacities { replay: 77, held_out: 1 }));
    assert!(text.contains("chain![Dense<4, 6>, Relu<6>, Dense<6, 3>]"), "{text}");
    assert!(text.contains(&format!("{:#018x}", Kind::schema(&checkpoint.about.layers().unwrap()))), "{text}");
    let bytes = std::fs::read(folder.path("a/model").join(IMAGE)).unwrap();
    let image = parse(&bytes);
    assert_eq!(image.header, header);
    assert_eq!(header.layers.as_slice(), checkpoint.about.layers().unwrap());
    assert_eq!((header.schema, header.recipe, header.scale), (Kind::schema(&header.layers), RECIPE, SCALE));
}

#[test]
fn features_that_were_normalised_one_by_one_are_normalised_on_the_device_in_the_same_bits() {
    let (folder, mut checkpoint) = (Folder::empty(), checkpoint(&[4, 6, 3], 5));
    let each = (vec![0.1, -3.0, 700.0, 1e-3], vec![0.3, 7.0, 1e4, 1e-5]);
    // One mean and deviation for all features, as "overall" learns them.
    let all = (vec![0.3], vec![0.7]);
    for ((mean, deviation), clip) in [(each.clone(), None), (each, Some(0.5)), (all.clone(), None), (all, Some(0.75))] {
        checkpoint.about.normalisation =
            Some(Normalisation { mean: mean.clone(), deviation: deviation.clone(), clip, ..Normalisation::default() });
        let clips = clip.map_or(String::new(), |clip| format!("Clip<4, {{ {clip:?}f32.to_bits() }}>, "));
        for (learning, learns) in [(usize::MAX, [true; 4]), (1, [false, false, true, true])] {
            let header = graft(&checkpoint, RECIPE, learning, &folder.path("model")).unwrap();
            let text = std::fs::read_to_string(folder.path("model").join(NETWORK)).unwrap();
            let expected = format!("chain![Standardise<4>, {clips}Dense<4, 6>, Relu<6>, Dense<6, 3>]");
            assert!(text.contains(&expected), "{text}");
            assert!(text.contains(&format!("{:#018x}", Kind::schema(&header.layers))), "{text}");
            assert_eq!(header.scale, 1.0);
            let moves = header.geometries.iter().map(|geometry| !geometry.is_frozen());
            assert_eq!(moves.collect::<Vec<_>>(), [&[false; 2][..], &learns].concat());
        }
        graft(&checkpoint, RECIPE, usize::MAX, &folder.path("model")).unwrap();
        let bytes = std::fs::read(folder.path("model").join(IMAGE)).unwrap();
        let mut board = start(workstation::network(&parse(&bytes)).unwrap(), RECIPE, parse(&bytes).start()).unwrap();
        let words = checkpoint.words();
        let mut workstation = start(trained(&checkpoint).unwrap(), RECIPE, &words).unwrap();
        let constants = |i: usize| (mean[i % mean.len()], deviation[i % mean.len()]);
        let mut clipped = 0;
        for (input, label) in samples(30, 4, 3).iter() {
            let raw: Vec<f32> = input.iter().enumerate().map(|(i, x)| constants(i).0 + constants(i).1 * x).collect();
            let bound = clip.unwrap_or(f32::INFINITY);
            let standard = raw.iter().enumerate().map(|(i, x)| (x - constants(i).0) / constants(i).1);
            let standard: Vec<f32> = standard.map(|x| x.clamp(-bound, bound)).collect();
            clipped += standard.iter().filter(|x| x.abs() == bound).count();
            let mut losses = [Vec::new(), Vec::new()];
            let predictions = [
                board.learn(&raw, label, |report| losses[0].push(report.outcome.loss.to_bits())).unwrap(),
                workstation.learn(&standard, label, |report| losses[1].push(report.outcome.loss.to_bits())).unwrap(),
            ];
            assert_eq!((predictions[0], &losses[0]), (predictions[1], &losses[1]));
        }
        assert_eq!(clipped > 10, clip.is_some(), "{clipped}");
        let mut found = Vec::new();
        board.network_mut().parameters(&mut |Parameter { state, .. }| found.push(bits(state.x.elements())));
        let mut expected = Vec::new();
        workstation.network_mut().parameters(&mut |Parameter { state, .. }| expected.push(bits(state.x.elements())));
        let each = |numbers: fn((f32, f32)) -> f32| bits(&(0..4).map(|i| numbers(constants(i))).collect::<Vec<_>>());
        assert_eq!(found[..2], [each(|(mean, _)| mean), each(|(_, deviation)| deviation)]);
        assert_eq!(found[2..], expected);
    }
}

#[test]
fn only_the_last_layers_learn_where_that_is_wanted() {
    let (folder, checkpoint) = (Folder::empty(), checkpoint(&[4, 6, 5, 3], 5));
    for (learning, expected) in
        [(1, [false, false, true]), (2, [false, true, true]), (3, [true; 3]), (usize::MAX, [true; 3])]
    {
        let header = graft(&checkpoint, RECIPE, learning, &folder.path("model")).unwrap();
        let learns = header.geometries.chunks(2).map(|pair| pair.iter().all(|geometry| *geometry != Geometry::FROZEN));
        assert_eq!(learns.collect::<Vec<_>>(), expected, "{learning}");
    }
    for (learning, words) in
        [(0, "--train-last 0: no layer would learn"), (4, "--train-last 4: the network has only 3 layers with weights")]
    {
        let error = graft(&checkpoint, RECIPE, learning, &folder.path("none")).unwrap_err().to_string();
        assert!(error.contains(words) && !error.contains('\n'), "{error}");
        assert!(!folder.path("none").exists());
    }
}

#[test]
fn a_firmware_has_room_for_what_the_recipe_keeps() {
    let (folder, checkpoint) = (Folder::empty(), checkpoint(&[4, 6, 3], 5));
    let hold_out = |keep| Some(HoldOut { every: 3, keep });
    for (replay, hold_out, held_out) in
        [(16, None, 1), (256, hold_out(100), 100), (SAMPLES, hold_out(SAMPLES), SAMPLES)]
    {
        graft(&checkpoint, Recipe { replay, hold_out, ..RECIPE }, usize::MAX, &folder.path("model")).unwrap();
        let text = std::fs::read_to_string(folder.path("model").join(NETWORK)).unwrap();
        assert!(text.contains(&format!("\npub const REPLAY: usize = {replay};\n")), "{text}");
        assert!(text.contains(&format!("\npub const HELD_OUT: usize = {held_out};\n")), "{text}");
    }
    for (replay, hold_out, option) in [(SAMPLES + 1, None, "--replay"), (16, hold_out(u32::MAX), "--hold-out")] {
        let recipe = Recipe { replay, hold_out, ..RECIPE };
        let error = graft(&checkpoint, recipe, usize::MAX, &folder.path("none")).unwrap_err().to_string();
        assert!(error.contains(option) && error.contains("at most 65536"), "{error}");
        assert!(!folder.path("none").exists());
    }
}

#[test]
fn a_schedule_that_never_learns_is_refused() {
    let (folder, checkpoint) = (Folder::empty(), checkpoint(&[4, 6, 3], 5));
    let wsd = |warmup, stable, decay| Schedule::WarmupStableDecay { warmup, stable, decay };
    let of = |schedule| {
        let recipe = Recipe { rule: Rule { schedule, ..RECIPE.rule }, ..RECIPE };
        graft(&checkpoint, recipe, usize::MAX, &folder.path("model")).map_err(|error| error.to_string())
    };
    for schedule in [Schedule::Linear { steps: 0 }, wsd(0, 0, 0)] {
        assert!((1..1000).all(|t| schedule.factor(t) == 0.0));
        let error = of(schedule).unwrap_err();
        assert!(error.contains("0 at every step"), "{error}");
        assert!(!folder.path("model").exists());
    }
    for schedule in [Schedule::Constant, Schedule::Linear { steps: 1 }, wsd(1, 0, 0), wsd(0, 1, 0), wsd(0, 0, 1)] {
        assert!(of(schedule).is_ok() && (1..1000).any(|t| schedule.factor(t) > 0.0));
    }
}

#[test]
fn a_column_that_binary32_cannot_hold_is_not_grafted() {
    let (folder, mut checkpoint) = (Folder::empty(), checkpoint(&[4, 6, 3], 5));
    let wide = |column, name: &str| Wide { column, name: name.into(), mean: 1.7e12, deviation: 3e3, moved: Some(21.0) };
    let wide = vec![wide(1, "time"), wide(3, "ticks")];
    let normalisation = Normalisation { mean: vec![0.0; 4], deviation: vec![1.0; 4], wide, clip: None };
    checkpoint.about.normalisation = Some(normalisation);
    let error = graft(&checkpoint, RECIPE, usize::MAX, &folder.path("none")).unwrap_err().to_string();
    for words in [
        "column \"time\": rounding to binary32 changes it by up to 21.00 deviations",
        "\"ticks\"",
        "subtract an offset",
    ] {
        assert!(error.contains(words) && !error.contains('\n'), "{error}");
    }
    assert!(!folder.path("none").exists());
    let path = folder.path("wide.safetensors");
    checkpoint.write(&path).unwrap();
    assert_eq!(Checkpoint::read(&path).unwrap().about, checkpoint.about);
}

#[test]
fn every_kind_of_layer_is_made_at_run_time_and_has_a_type() {
    assert!(Layers::new(&Kind::EACH).is_some());
    let text = network(&Kind::EACH, Capacities { replay: 1, held_out: 1 });
    for kind in Kind::EACH {
        let words = format!("{kind:?}");
        let name = words.split(|c: char| !c.is_alphanumeric()).next().unwrap();
        assert!(text.contains(&format!("{name}<")), "{name}: {text}");
    }
    assert!(text.contains("Clip<8, { 5.0f32.to_bits() }>"), "{text}");
    for bound in [0.0, -1.0, f32::INFINITY, f32::NAN] {
        assert!(Layers::new(&[Kind::Clip { width: 8, bound: bound.to_bits() }]).is_none(), "{bound}");
    }
}

#[test]
fn a_network_in_static_memory_takes_the_weights_of_the_checkpoint_bit_for_bit() {
    let (folder, checkpoint) = (Folder::empty(), checkpoint(&[64, 32, 10], 5));
    graft(&checkpoint, RECIPE, usize::MAX, &folder.path("model")).unwrap();
    let bytes = std::fs::read(folder.path("model").join(IMAGE)).unwrap();
    let mut network = demo::Network::ZERO;
    parse(&bytes).load(demo::Network::SCHEMA, &mut network).unwrap();
    let (mut weights, mut geometries) = (checkpoint.weights(), Vec::new());
    network.parameters(&mut |Parameter { geometry, state, .. }| {
        assert_eq!(bits(state.x.elements()), bits(weights.next().unwrap()));
        assert_eq!(bits(state.y.elements()), bits(state.x.elements()));
        geometries.push(*geometry);
    });
    assert_eq!(geometries, [Geometry::HIDDEN, Geometry::BIAS, Geometry::HEAD, Geometry::BIAS]);
    let mut other = <Dense<64, 10>>::ZERO;
    assert!(parse(&bytes).load(<Dense<64, 10>>::SCHEMA, &mut other).is_err());
}

#[test]
fn a_network_of_more_layers_than_an_image_names_is_refused() {
    let folder = Folder::empty();
    let most = checkpoint(&[2; 9], 5);
    assert_eq!(most.about.layers().unwrap().len(), 15);
    graft(&most, RECIPE, usize::MAX, &folder.path("most")).unwrap();
    let error = graft(&checkpoint(&[2; 10], 5), RECIPE, usize::MAX, &folder.path("more")).unwrap_err();
    assert!(error.to_string().contains("at most 16 layers"), "{error}");
    assert!(!folder.path("more").exists());
}

#[test]
fn a_checkpoint_is_read_as_it_was_written() {
    let folder = Folder::empty();
    let mut checkpoint = checkpoint(&[5, 7, 4], 123);
    checkpoint.tensors[0].elements[..3].copy_from_slice(&[-0.0, f32::from_bits(1), f32::MAX]);
    let path = folder.path("a.safetensors");
    checkpoint.write(&path).unwrap();
    let read = Checkpoint::read(&path).unwrap();
    assert_eq!(read.about, checkpoint.about);
    let all = |checkpoint: &Checkpoint| checkpoint.weights().map(bits).collect::<Vec<_>>();
    assert_eq!(all(&read), all(&checkpoint));
    // Its network has these weights, in this order.
    let mut weights = checkpoint.weights();
    read.network().unwrap().parameters(&mut |Parameter { state, .. }| {
        assert_eq!(bits(state.x.elements()), bits(weights.next().unwrap()));
    });
}

/// Checks that other software finds the weights under the usual names, row by row.
#[test]
fn a_checkpoint_has_the_names_and_shapes_of_a_sequence_of_linear_layers() {
    let (folder, checkpoint) = (Folder::empty(), checkpoint(&[5, 7, 4], 123));
    let path = folder.path("a.safetensors");
    checkpoint.write(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let expected = [
        ("layers.0.weight", vec![7, 5]),
        ("layers.0.bias", vec![7]),
        ("layers.2.weight", vec![4, 7]),
        ("layers.2.bias", vec![4]),
    ];
    assert_eq!(file.len(), expected.len());
    for ((name, shape), weights) in expected.iter().zip(checkpoint.weights()) {
        let tensor = file.tensor(name).unwrap();
        assert_eq!((tensor.dtype(), tensor.shape()), (Dtype::F32, &shape[..]));
        let bytes: Vec<u8> = weights.iter().flat_map(|e| e.to_le_bytes()).collect();
        assert_eq!(tensor.data(), bytes);
    }
}

#[test]
fn a_damaged_checkpoint_is_refused_or_read_but_never_breaks_the_reader() {
    let (folder, checkpoint) = (Folder::empty(), checkpoint(&[2, 3, 2], 5));
    let path = folder.path("a.safetensors");
    checkpoint.write(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    for length in 0..bytes.len() {
        assert!(Checkpoint::read(&folder.file("cut", &bytes[..length])).is_err(), "{length} bytes");
    }
    for bit in 0..8 * bytes.len() {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        // A flipped bit of a weight gives another weight: safetensors has no checksum.
        if let Ok(read) = Checkpoint::read(&folder.file("flipped", &damaged)) {
            let normalisation = read.about.normalisation.as_ref();
            assert!(normalisation.is_some_and(|learnt| learnt.check(read.numbers().inputs).is_ok()), "bit {bit}");
            assert!(read.weights().flatten().all(|w| w.is_finite()), "bit {bit}");
            let _ = read.network();
        }
    }
}
