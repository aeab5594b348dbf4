//! Tests that the models compute their equations: against plain loops in float64 that share no code with them, and
//! against identities that need no second implementation.

#[path = "../../optim/tests/common/cuda.rs"]
mod cuda;

use graftage::model::Shape;
use graftage::network::Layers;
use graftage_core::matrix::RowMajor;
use graftage_core::network::Layer;
use graftage_core::random::Generator;
use graftage_core::scion::{Point, Rule};
use graftage_optim::tensor::{Arithmetic, Precision};
use graftage_optim::{TransportedScion, named};
use graftage_train::error::Error;
use graftage_train::model::{Convolutional, Gpt, Mlp, Model, Vit};
use graftage_train::network::Network;
use oracle::Oracle;
use std::collections::HashMap;
use tch::{Device, Kind, Tensor, nn, no_grad};

/// Plain loops written from the mathematics, in float64.
mod oracle {
    use graftage::model::Shape;
    use graftage_train::model::Model;
    use std::collections::HashMap;

    /// Model with its weights by name, row by row.
    pub struct Oracle<'a> {
        pub model: &'a Model,
        pub shape: &'a Shape,
        pub weights: HashMap<String, Vec<f64>>,
    }

    fn relu(x: &[f64]) -> Vec<f64> {
        x.iter().map(|x| x.max(0.0)).collect()
    }

    /// Computes W x, with W row by row.
    fn times(w: &[f64], x: &[f64]) -> Vec<f64> {
        w.chunks(x.len()).map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum()).collect()
    }

    fn plus(a: &[f64], b: &[f64], scale: f64) -> Vec<f64> {
        a.iter().zip(b).map(|(a, b)| a + scale * b).collect()
    }

    /// Computes gain · x/√(mean x² + 1e-6).
    fn normalised(x: &[f64], gain: &[f64]) -> Vec<f64> {
        let square = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
        x.iter().zip(gain).map(|(x, gain)| gain * x / (square + 1e-6).sqrt()).collect()
    }

    /// Multiplies the complex numbers x_i + i·x_{i+n/2} by exp(i·place·10000^(−2i/n)).
    fn turned(x: &[f64], place: usize) -> Vec<f64> {
        let half = x.len() / 2;
        let mut out = x.to_vec();
        for i in 0..half {
            let (modulus, argument) = (x[i].hypot(x[i + half]), x[i + half].atan2(x[i]));
            let angle = argument + place as f64 / 10000f64.powf(i as f64 / half as f64);
            (out[i], out[i + half]) = (modulus * angle.cos(), modulus * angle.sin());
        }
        out
    }

    /// Computes Σ_j softmax_j(q·k_j/√n) v_j.
    fn mixed(q: &[f64], k: &[Vec<f64>], v: &[Vec<f64>]) -> Vec<f64> {
        let score = |k: &Vec<f64>| (q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>() / (q.len() as f64).sqrt()).exp();
        let shares: Vec<f64> = k.iter().map(score).collect();
        let all: f64 = shares.iter().sum();
        let mut out = vec![0.0; q.len()];
        for (share, v) in shares.iter().zip(v) {
            out = plus(&out, v, share / all);
        }
        out
    }

    impl Oracle<'_> {
        fn get(&self, name: &str) -> &[f64] {
            &self.weights[name]
        }

        fn dense(&self, x: &[f64], name: &str) -> Vec<f64> {
            plus(&times(self.get(&format!("{name}.weight")), x), self.get(&format!("{name}.bias")), 1.0)
        }

        /// Returns the logits of one sample; for a text, those of all its bytes, one after another.
        pub fn logits(&self, input: &[f64]) -> Vec<f64> {
            match self.model {
                Model::Mlp(mlp) => {
                    let hidden = (0..mlp.hidden.len())
                        .fold(input.to_vec(), |x, at| relu(&self.dense(&x, &format!("layers.{}", 2 * at))));
                    self.dense(&hidden, &format!("layers.{}", 2 * mlp.hidden.len()))
                }
                Model::Convolutional(net) => {
                    let [mut channels, mut height, mut width] = self.image();
                    let mut image = input.to_vec();
                    for (block, outputs) in net.channels.iter().enumerate() {
                        for at in 0..net.convolutions {
                            let name = format!("blocks.{block}.{at}");
                            image = relu(&self.convolved(&image, [channels, height, width], net.kernel, &name));
                            channels = *outputs;
                        }
                        image = pooled(&image, [channels, height, width]);
                        (height, width) = (height / 2, width / 2);
                    }
                    self.dense(&relu(&self.dense(&image, "dense")), "head")
                }
                Model::Gpt(gpt) => {
                    let head = self.get("head.weight");
                    let table = if gpt.tied { head } else { self.get("embed.weight") };
                    let words =
                        input.iter().map(|byte| table[*byte as usize * gpt.width..][..gpt.width].to_vec()).collect();
                    let places = self.blocks(words, gpt.layers, gpt.heads, true);
                    places.iter().flat_map(|x| times(head, &normalised(x, self.get("norm.gain")))).collect()
                }
                Model::Vit(vit) => {
                    let [channels, height, width] = self.image();
                    let mut places = Vec::new();
                    for top in (0..height).step_by(vit.patch) {
                        for left in (0..width).step_by(vit.patch) {
                            let mut patch = Vec::new();
                            for channel in 0..channels {
                                for y in top..top + vit.patch {
                                    for x in left..left + vit.patch {
                                        patch.push(input[(channel * height + y) * width + x]);
                                    }
                                }
                            }
                            let place = &self.get("embed.place")[places.len() * vit.width..][..vit.width];
                            places.push(plus(&times(self.get("patch.weight"), &patch), place, 1.0));
                        }
                    }
                    let places = self.blocks(places, vit.layers, vit.heads, false);
                    let mut mean = vec![0.0; vit.width];
                    for x in &places {
                        mean = plus(&mean, &normalised(x, self.get("norm.gain")), 1.0 / places.len() as f64);
                    }
                    times(self.get("head.weight"), &mean)
                }
            }
        }

        fn image(&self) -> [usize; 3] {
            match self.shape {
                Shape::Features { shape, .. } if shape.len() == 3 => [shape[0], shape[1], shape[2]],
                Shape::Features { shape, .. } => [1, shape[0], shape[1]],
                Shape::Text => panic!("no image"),
            }
        }

        /// Computes out[o, y, x] = bias[o] + Σ weight[o, c, i, j]·image[c, y + i − k/2, x + j − k/2], 0 outside the
        /// image.
        fn convolved(&self, image: &[f64], [channels, height, width]: [usize; 3], k: usize, name: &str) -> Vec<f64> {
            let (weight, bias) = (self.get(&format!("{name}.weight")), self.get(&format!("{name}.bias")));
            let mut out = Vec::new();
            for (o, bias) in bias.iter().enumerate() {
                for y in 0..height {
                    for x in 0..width {
                        let mut sum = *bias;
                        for c in 0..channels {
                            for i in 0..k {
                                for j in 0..k {
                                    let (row, column) = ((y + i).wrapping_sub(k / 2), (x + j).wrapping_sub(k / 2));
                                    if row < height && column < width {
                                        let w = weight[((o * channels + c) * k + i) * k + j];
                                        sum += w * image[(c * height + row) * width + column];
                                    }
                                }
                            }
                        }
                        out.push(sum);
                    }
                }
            }
            out
        }

        fn blocks(&self, mut places: Vec<Vec<f64>>, layers: usize, heads: usize, causal: bool) -> Vec<Vec<f64>> {
            let scale = 1.0 / (2.0 * layers as f64).sqrt();
            for block in 0..layers {
                let get = |name: &str| self.get(&format!("blocks.{block}.{name}"));
                let n: Vec<_> = places.iter().map(|x| normalised(x, get("norm1.gain"))).collect();
                let size = places[0].len() / heads;
                let of = |name: &str, head: usize, turn: bool| -> Vec<Vec<f64>> {
                    let one = |(place, n): (usize, &Vec<f64>)| {
                        let all = times(get(name), n)[head * size..][..size].to_vec();
                        if turn { turned(&all, place) } else { all }
                    };
                    n.iter().enumerate().map(one).collect()
                };
                let mut all = vec![Vec::new(); places.len()];
                for head in 0..heads {
                    let (q, k, v) =
                        (of("q.weight", head, causal), of("k.weight", head, causal), of("v.weight", head, false));
                    for (place, all) in all.iter_mut().enumerate() {
                        let seen = if causal { place + 1 } else { k.len() };
                        all.extend(mixed(&q[place], &k[..seen], &v[..seen]));
                    }
                }
                for (x, mixed) in places.iter_mut().zip(all) {
                    *x = plus(x, &times(get("out.weight"), &mixed), scale);
                    let up = times(get("up.weight"), &normalised(x, get("norm2.gain")));
                    let hidden: Vec<f64> = relu(&up).iter().map(|x| x * x).collect();
                    *x = plus(x, &times(get("down.weight"), &hidden), scale);
                }
            }
            places
        }

        /// Returns the mean over samples and bytes of −ln softmax(logits)[target].
        pub fn loss(&self, inputs: &[Vec<f64>], targets: &[Vec<usize>]) -> f64 {
            let classes = self.shape.numbers().outputs;
            let mut losses = Vec::new();
            for (input, targets) in inputs.iter().zip(targets) {
                for (logits, target) in self.logits(input).chunks(classes).zip(targets) {
                    losses.push(logits.iter().map(|z| (z - logits[*target]).exp()).sum::<f64>().ln());
                }
            }
            losses.iter().sum::<f64>() / losses.len() as f64
        }
    }

    /// Returns the largest of each 2×2. A last row or column without a partner is left out.
    fn pooled(image: &[f64], [channels, height, width]: [usize; 3]) -> Vec<f64> {
        let mut out = Vec::new();
        for channel in 0..channels {
            for y in 0..height / 2 {
                for x in 0..width / 2 {
                    let at = |i, j| image[(channel * height + 2 * y + i) * width + 2 * x + j];
                    out.push(at(0, 0).max(at(0, 1)).max(at(1, 0)).max(at(1, 1)));
                }
            }
        }
        out
    }
}

fn features(shape: &[usize], classes: usize) -> Shape {
    Shape::Features { shape: shape.to_vec(), classes }
}

fn convolutional(channels: &[usize], convolutions: usize, kernel: usize, hidden: usize) -> Model {
    Model::Convolutional(Convolutional { channels: channels.to_vec(), convolutions, kernel, hidden })
}

fn gpt([layers, width, heads, context]: [usize; 4], tied: bool) -> Model {
    Model::Gpt(Gpt { layers, width, heads, context, tied })
}

fn vit([layers, width, heads, patch]: [usize; 4]) -> Model {
    Model::Vit(Vit { layers, width, heads, patch })
}

fn mlp(hidden: &[usize]) -> Model {
    Model::Mlp(Mlp { hidden: hidden.to_vec() })
}

/// Returns small models whose sizes all differ: sides that pooling does not halve evenly, several channels, patches in
/// two directions.
fn tiny() -> Vec<(Model, Shape)> {
    vec![
        (mlp(&[]), features(&[5], 3)),
        (mlp(&[7, 6]), features(&[2, 3], 4)),
        (convolutional(&[3, 4], 2, 3, 5), features(&[2, 9, 6], 4)),
        (convolutional(&[3], 1, 5, 6), features(&[7, 5], 3)),
        (gpt([2, 8, 2, 6], false), Shape::Text),
        (gpt([1, 12, 3, 4], true), Shape::Text),
        (vit([2, 6, 3, 2]), features(&[3, 4, 6], 5)),
        (vit([1, 8, 2, 3]), features(&[6, 3], 3)),
    ]
}

/// Returns models of the sizes that are trained.
fn usual() -> Vec<(Model, Shape)> {
    vec![
        (mlp(&[128, 128]), features(&[28, 28], 10)),
        (convolutional(&[16, 32], 2, 3, 128), features(&[28, 28], 10)),
        (gpt([2, 64, 4, 64], false), Shape::Text),
        (gpt([2, 64, 4, 64], true), Shape::Text),
        (vit([4, 64, 4, 4]), features(&[28, 28], 10)),
    ]
}

/// Network with random weights. Matrices keep the magnitude of what they multiply; all else lies around its start.
struct Built {
    store: nn::VarStore,
    network: Network,
    generator: Generator,
}

fn build(model: &Model, shape: &Shape, seed: u64) -> Built {
    build_on(Device::Cpu, model, shape, seed)
}

fn build_on(device: Device, model: &Model, shape: &Shape, seed: u64) -> Built {
    println!("{model} on {device:?}, seed {seed}");
    let store = nn::VarStore::new(device);
    let network = Network::new(&store.root(), model, shape).unwrap();
    let mut generator = Generator::new(seed, 0);
    for (_, tensor) in named(&store) {
        let size = tensor.size();
        let columns: i64 = size[1..].iter().product();
        let scale = if size.len() == 1 { 0.5 } else { (3.0 / columns as f32).sqrt() };
        let new = random(&size, &mut generator).to_device(device) * f64::from(scale);
        no_grad(|| tensor.shallow_clone().copy_(&(if size.len() == 1 { &tensor + new } else { new })));
    }
    Built { store, network, generator }
}

/// Returns random numbers in [−1, 1).
fn random(size: &[i64], generator: &mut Generator) -> Tensor {
    let numbers: Vec<f32> = (0..size.iter().product()).map(|_| 2.0 * generator.uniform() - 1.0).collect();
    Tensor::from_slice(&numbers).view(size)
}

fn bytes(size: &[i64], generator: &mut Generator) -> Tensor {
    let numbers: Vec<i64> = (0..size.iter().product()).map(|_| (256.0 * generator.uniform()) as i64).collect();
    Tensor::from_slice(&numbers).view(size)
}

impl Built {
    fn tensor(&self, name: &str) -> Tensor {
        named(&self.store).into_iter().find(|(other, _)| other == name).map(|(_, tensor)| tensor).unwrap()
    }

    fn set(&self, name: &str, value: &Tensor) {
        no_grad(|| self.tensor(name).copy_(value));
    }

    /// Returns `count` random samples; for a text, with whole contexts.
    fn input(&mut self, model: &Model, shape: &Shape, count: i64) -> Tensor {
        match model.context() {
            Some(context) => bytes(&[count, context as i64], &mut self.generator),
            None => random(&[count, shape.numbers().inputs as i64], &mut self.generator),
        }
    }

    fn forward(&self, input: &Tensor) -> Tensor {
        self.network.forward(input, Precision::Float32).unwrap()
    }

    fn oracle<'a>(&self, model: &'a Model, shape: &'a Shape) -> Oracle<'a> {
        let weights = named(&self.store).into_iter().map(|(name, tensor)| (name, numbers(&tensor)));
        Oracle { model, shape, weights: weights.collect() }
    }
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.detach().to_kind(Kind::Double).flatten(0, -1)).unwrap()
}

fn rows(tensor: &Tensor) -> Vec<Vec<f64>> {
    (0..tensor.size()[0]).map(|row| numbers(&tensor.get(row))).collect()
}

fn largest(numbers: &[f64]) -> f64 {
    numbers.iter().fold(0.0, |most, x| x.abs().max(most))
}

fn difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(0.0, |most, (a, b)| (a - b).abs().max(most))
}

#[test]
fn forward_is_the_equations() {
    for (seed, (model, shape)) in tiny().iter().enumerate() {
        let mut built = build(model, shape, seed as u64);
        let input = built.input(model, shape, 3);
        let oracle = built.oracle(model, shape);
        let expected: Vec<f64> = rows(&input).iter().flat_map(|input| oracle.logits(input)).collect();
        let logits = built.forward(&input);
        let mut size = input.size();
        let classes = shape.numbers().outputs as i64;
        match model.context() {
            Some(_) => size.push(classes),
            None => size[1] = classes,
        }
        assert_eq!(logits.size(), size);
        let (error, most) = (difference(&numbers(&logits), &expected), largest(&expected));
        println!("  largest logit {most:.3}, off by {error:.1e}");
        assert!(most > 0.1 && error < 3e-6 * most, "{model}: off by {error} of {most}");
    }
}

#[test]
fn gradients_are_finite_differences() {
    for (seed, (model, shape)) in tiny().iter().enumerate() {
        let mut built = build(model, shape, 100 + seed as u64);
        let input = built.input(model, shape, 2);
        let classes = shape.numbers().outputs as i64;
        let places = model.context().unwrap_or(1) as i64;
        let targets = bytes(&[2, places], &mut built.generator).remainder(classes);
        let logits = built.forward(&input).view([-1, classes]);
        logits.cross_entropy_for_logits(&targets.flatten(0, -1)).backward();

        let mut oracle = built.oracle(model, shape);
        let inputs = rows(&input);
        let targets: Vec<Vec<usize>> = rows(&targets).iter().map(|t| t.iter().map(|t| *t as usize).collect()).collect();
        for (name, tensor) in named(&built.store) {
            let gradient = numbers(&tensor.grad());
            let mut expected = Vec::new();
            for at in 0..gradient.len() {
                let step = 1e-5;
                let mut loss = |by: f64| {
                    let x = oracle.weights[&name][at];
                    oracle.weights.get_mut(&name).unwrap()[at] = x + by;
                    let loss = oracle.loss(&inputs, &targets);
                    oracle.weights.get_mut(&name).unwrap()[at] = x;
                    loss
                };
                expected.push((loss(step) - loss(-step)) / (2.0 * step));
            }
            let (error, most) = (difference(&gradient, &expected), largest(&expected));
            assert!(most > 1e-5, "{model}: {name} has no gradient");
            assert!(error < 1e-4 * most, "{model}: {name} is off by {error} of {most}");
        }
    }
}

#[test]
fn a_byte_changes_no_logit_before_it() {
    const PLACES: i64 = 9;
    let model = gpt([2, 16, 2, PLACES as usize], false);
    let mut built = build(&model, &Shape::Text, 7);
    let input = built.input(&model, &Shape::Text, 2);
    let before = built.forward(&input);
    for place in 0..PLACES {
        let other = input.copy();
        let mut at = other.select(1, place);
        at.copy_(&(&at + 1).remainder(256));
        let changed = (built.forward(&other) - &before).abs().amax([-1].as_slice(), false);
        for (row, changes) in rows(&changed).iter().enumerate() {
            let (earlier, later) = changes.split_at(place as usize);
            assert!(earlier.iter().all(|change| *change == 0.0), "byte {place} of text {row} is seen by {earlier:?}");
            assert!(later.iter().all(|change| *change > 1e-4), "byte {place} of text {row} is not seen by {later:?}");
        }
        // A text that ends there has the same logits.
        let start = built.forward(&input.narrow(1, 0, place + 1));
        let error = difference(&numbers(&start), &numbers(&before.narrow(1, 0, place + 1)));
        assert!(error < 1e-5, "the first {} bytes by themselves are off by {error}", place + 1);
    }
}

/// Checks with a byte whose word is 0, and so are its keys and values: each such byte gets a share of 1/Z, and adds
/// nothing else. After s of them, the attention's result of two other bytes is N/(s + Z). N and Z depend on the
/// distance of these two bytes and, if positions are relative, not on s.
#[test]
fn only_distances_between_bytes_count() {
    const NOTHING: i64 = 0;
    const WIDTH: i64 = 8;
    let model = gpt([1, WIDTH as usize, 1, 32], false);
    let built = build(&model, &Shape::Text, 11);
    no_grad(|| {
        let _ = built.tensor("embed.weight").select(0, NOTHING).zero_();
        let _ = built.tensor("blocks.0.out.weight").select(0, 0).zero_();
        let _ = built.tensor("blocks.0.down.weight").zero_();
        let _ = built.tensor("norm.gain").fill_(1.0);
    });
    // The head shows its input. The first number, which the attention leaves alone, shows the scale.
    built.set("head.weight", &Tensor::eye_m(256, WIDTH, (Kind::Float, Device::Cpu)));
    let word = numbers(&built.tensor("embed.weight").get(2));
    let attention = |text: &[i64]| -> Vec<f64> {
        let logits = numbers(&built.forward(&Tensor::from_slice(text).unsqueeze(0)).select(1, text.len() as i64 - 1));
        (0..WIDTH as usize).map(|i| logits[i] / logits[0] * word[0] - word[i]).collect()
    };
    let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
    let after = |s: usize, rest: &[i64]| attention(&[&vec![NOTHING; s], rest].concat());

    let rest = [1, 2];
    let (none, one) = (after(0, &rest), after(1, &rest));
    let z = norm(&one) / (norm(&none) - norm(&one));
    println!("Z = {z}, N/Z = {none:?}");
    for s in 1..30 {
        let expected: Vec<f64> = none.iter().map(|x| x * z / (s as f64 + z)).collect();
        let error = difference(&after(s, &rest), &expected);
        assert!(error < 1e-5 * norm(&none), "after {s} bytes off by {error} of {}", norm(&none));
    }
    // Distances do count.
    let apart = difference(&attention(&[NOTHING, NOTHING, 1, 2]), &attention(&[1, NOTHING, NOTHING, 2]));
    assert!(apart > 1e-2 * norm(&none), "another distance moves it by {apart} of {}", norm(&none));
}

#[test]
fn a_tied_head_is_the_table_itself() {
    let sizes = [2, 16, 2, 8];
    let (tied_model, free_model) = (gpt(sizes, true), gpt(sizes, false));
    let (tied, mut free) = (build(&tied_model, &Shape::Text, 21), build(&free_model, &Shape::Text, 22));
    let table = tied.tensor("head.weight");
    for (name, tensor) in named(&tied.store) {
        free.set(&name, &tensor);
    }
    free.set("embed.weight", &table);
    let tables = named(&tied.store).iter().filter(|(_, tensor)| tensor.size()[0] == 256).count();
    assert_eq!(tables, 1);

    let input = free.input(&free_model, &Shape::Text, 3);
    let target = bytes(&[24], &mut free.generator);
    let logits = [&tied, &free].map(|built| built.forward(&input));
    assert_eq!(difference(&numbers(&logits[0]), &numbers(&logits[1])), 0.0);
    for logits in &logits {
        logits.flatten(0, 1).cross_entropy_for_logits(&target).backward();
    }
    let [word, head] = ["embed.weight", "head.weight"].map(|name| free.tensor(name).grad());
    let (sum, most) = (numbers(&table.grad()), largest(&numbers(&(&word + &head))));
    assert!(largest(&numbers(&word)) > 1e-3 && largest(&numbers(&head)) > 1e-3);
    assert!(difference(&sum, &numbers(&(word + head))) < 1e-6 * most);
}

#[test]
fn parameters_are_as_many_as_the_formulas_say() {
    let blocks = |layers: usize, d: usize| layers * (4 * d * d + 2 * 4 * d * d + 2 * d);
    let cases = [
        (mlp(&[]), features(&[5], 3), 5 * 3 + 3),
        (mlp(&[7, 6]), features(&[2, 3], 4), (6 * 7 + 7) + (7 * 6 + 6) + (6 * 4 + 4)),
        (
            convolutional(&[3, 4], 2, 3, 5),
            features(&[2, 9, 6], 4),
            // 9×6 becomes 4×3, and then 2×1.
            (2 * 9 * 3 + 3) + (3 * 9 * 3 + 3) + (3 * 9 * 4 + 4) + (4 * 9 * 4 + 4) + (4 * 2 * 5 + 5) + (5 * 4 + 4),
        ),
        (
            convolutional(&[32, 64], 1, 5, 128),
            features(&[28, 28], 10),
            (25 * 32 + 32) + (32 * 25 * 64 + 64) + (64 * 7 * 7 * 128 + 128) + (128 * 10 + 10),
        ),
        (gpt([6, 384, 6, 256], false), Shape::Text, 2 * 256 * 384 + blocks(6, 384) + 384),
        (gpt([3, 32, 4, 99], true), Shape::Text, 256 * 32 + blocks(3, 32) + 32),
        (vit([4, 64, 4, 7]), features(&[28, 28], 10), 49 * 64 + 16 * 64 + blocks(4, 64) + 64 + 64 * 10),
        (vit([2, 6, 3, 2]), features(&[3, 4, 6], 5), 12 * 6 + 6 * 6 + blocks(2, 6) + 6 + 6 * 5),
    ];
    for (model, shape, count) in cases {
        let parameters = model.parameters(&shape).unwrap();
        assert_eq!(parameters.iter().map(|parameter| parameter.count()).sum::<usize>(), count, "{model}");
        // The network has these parameters and no others, in this order.
        let store = nn::VarStore::new(Device::Cpu);
        Network::new(&store.root(), &model, &shape).unwrap();
        let of = |size: &[usize]| size.iter().map(|n| *n as i64).collect::<Vec<_>>();
        let expected: Vec<_> = parameters.iter().map(|one| (one.name.clone(), of(&one.size))).collect();
        let made: Vec<_> = named(&store).into_iter().map(|(name, tensor)| (name, tensor.size())).collect();
        assert_eq!(made, expected, "{model}");
    }
}

/// Returns the resident memory of this process, in bytes.
#[cfg(target_os = "linux")]
fn memory() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    4096.0 * pages.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap()
}

/// Runs in a process of its own, whose allocator gives every large tensor pages that it returns at once.
#[cfg(target_os = "linux")]
#[test]
fn activations_are_what_memory_grows_by() {
    const CHILD: &str = "GRAFTAGE_TEST_MEMORY";
    if std::env::var_os(CHILD).is_none() {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "activations_are_what_memory_grows_by", "--nocapture"]);
        let output = child.env(CHILD, "1").env("MALLOC_MMAP_THRESHOLD_", "32768").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        println!("{text}");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.contains("1 passed"), "the test of the process did not run");
        return;
    }
    tch::set_num_threads(1);
    let wide = (mlp(&[1024, 512]), features(&[28, 28], 10));
    let many = [4096, 128, 128, 128, 64];
    for ((model, shape), count) in [wide].into_iter().chain(usual().into_iter().skip(1)).zip(many) {
        let mut built = build(&model, &shape, 51);
        let classes = shape.numbers().outputs as i64;
        let mut loss = |count: i64| {
            let input = built.input(&model, &shape, count);
            let target = Tensor::zeros([count * model.context().unwrap_or(1) as i64], (Kind::Int64, Device::Cpu));
            built.forward(&input).view([-1, classes]).cross_entropy_for_logits(&target)
        };
        // Warm-up: some memory is taken only once, and libtorch keeps some for products of this size.
        loss(2).backward();
        drop(loss(count));
        let before = memory();
        let kept = loss(count);
        let grown = (memory() - before) / count as f64;
        drop(kept);
        let said = 4.0 * model.activations(&shape).unwrap() as f64;
        println!("  {grown:.0} bytes a sample, and {said} are said");
        assert!((grown / said - 1.0).abs() < 0.03, "{model}: {grown} bytes a sample, and {said} are said");
    }
}

#[test]
fn bfloat16_is_within_two_percent() {
    cuda::devices().for_each(bfloat16_is_within_two_percent_on);
}

fn bfloat16_is_within_two_percent_on(device: Device) {
    for (seed, (model, shape)) in usual().iter().enumerate() {
        let mut built = build_on(device, model, shape, 200 + seed as u64);
        let input = built.input(model, shape, 8).to_device(device);
        let single = numbers(&built.forward(&input));
        let half = built.network.forward(&input, Precision::Bfloat16).unwrap();
        assert_eq!(half.kind(), Kind::BFloat16);
        let square = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>();
        let error = square(&mut numbers(&half).iter().zip(&single).map(|(a, b)| a - b));
        let relative = (error / square(&mut single.iter().copied())).sqrt();
        println!("  off by {:.2} %", 100.0 * relative);
        assert!(relative < 0.02, "{model}: off by {relative}");
        // If the error were smaller than that of rounding the result alone, nothing would have been computed in
        // bfloat16.
        assert!(relative > 1e-3, "{model}: off by no more than {relative}");
    }
}

#[test]
fn a_gpu_computes_what_the_processor_computes() {
    let Some(device) = cuda::devices().find(|device| device.is_cuda()) else { return };
    for (seed, (model, shape)) in usual().iter().enumerate() {
        let [(logits, gradients), (expected, others)] = [device, Device::Cpu].map(|device| {
            let mut built = build_on(device, model, shape, 300 + seed as u64);
            let input = built.input(model, shape, 8).to_device(device);
            let logits = built.forward(&input);
            logits.square().mean(Kind::Float).backward();
            let gradients = named(&built.store).into_iter().map(|(name, tensor)| (name, numbers(&tensor.grad())));
            (numbers(&logits), gradients.collect::<Vec<_>>())
        });
        // Measured on an H100: logits at most 8.8e-7. On a GPU libtorch may convolve in TF32, of ten bits.
        let (logit, bound) = if matches!(model, Model::Convolutional(_)) { (1e-2, 1e-2) } else { (5e-6, 1e-4) };
        let off = difference(&logits, &expected) / largest(&expected);
        println!("  off by {off:.1e}");
        assert!(off < logit, "{model}: off by {off:e}");
        for ((name, gradient), (_, expected)) in gradients.iter().zip(&others) {
            let off = difference(gradient, expected) / largest(expected);
            assert!(off < bound, "{model}: the gradient of {name} is off by {off:e}");
        }
    }
}

/// Name, norm and radius of a parameter.
type Line = (String, String, String);

/// Returns the optimizer's own table.
fn table(model: &Model, shape: &Shape) -> Vec<Line> {
    let store = nn::VarStore::new(Device::Cpu);
    Network::new(&store.root(), model, shape).unwrap();
    let table = TransportedScion::new(&store, Rule::PLAIN, Arithmetic::Fast).unwrap().table();
    let line = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let matrix = words.iter().position(|word| word.contains('×')).unwrap();
        let radius = words.len() - 3;
        (words[0].to_owned(), words[matrix + 1..radius].join(" "), words[radius].to_owned())
    };
    table.lines().skip(1).map(line).collect()
}

#[test]
fn names_get_the_right_groups() {
    const CONVOLUTION: &str = "Convolution { taps: 9 }";
    let of = |lines: &[(&str, &str, &str)]| -> Vec<Line> {
        lines.iter().map(|(name, norm, radius)| (name.to_string(), norm.to_string(), radius.to_string())).collect()
    };
    let block = |at: usize| {
        let lines = [
            ("norm1.gain", "Rms", "1"),
            ("q.weight", "Spectral", "3"),
            ("k.weight", "Spectral", "3"),
            ("v.weight", "Spectral", "3"),
            ("out.weight", "Spectral", "3"),
            ("norm2.gain", "Rms", "1"),
            ("up.weight", "Spectral", "3"),
            ("down.weight", "Spectral", "3"),
        ];
        let named = lines.map(|(name, norm, radius)| (format!("blocks.{at}.{name}"), norm.into(), radius.into()));
        Vec::<Line>::from(named)
    };
    let last = of(&[("norm.gain", "Rms", "1"), ("head.weight", "Sign", "10")]);
    let cases = [
        (
            mlp(&[4]),
            features(&[5], 3),
            of(&[
                ("layers.0.weight", "Spectral", "3"),
                ("layers.0.bias", "Rms", "1"),
                ("layers.2.weight", "Sign", "10"),
                ("layers.2.bias", "Rms", "1"),
            ]),
        ),
        (
            convolutional(&[3, 4], 1, 3, 5),
            features(&[8, 8], 3),
            of(&[
                ("blocks.0.0.weight", CONVOLUTION, "3"),
                ("blocks.0.0.bias", "Rms", "1"),
                ("blocks.1.0.weight", CONVOLUTION, "3"),
                ("blocks.1.0.bias", "Rms", "1"),
                ("dense.weight", "Spectral", "3"),
                ("dense.bias", "Rms", "1"),
                ("head.weight", "Sign", "10"),
                ("head.bias", "Rms", "1"),
            ]),
        ),
        (
            gpt([2, 8, 2, 4], false),
            Shape::Text,
            [of(&[("embed.weight", "EmbeddingColumn", "1")]), block(0), block(1), last.clone()].concat(),
        ),
        (gpt([1, 8, 2, 4], true), Shape::Text, [block(0), last.clone()].concat()),
        (
            vit([1, 8, 2, 2]),
            features(&[4, 4], 3),
            [of(&[("patch.weight", "Spectral", "3"), ("embed.place", "EmbeddingColumn", "1")]), block(0), last]
                .concat(),
        ),
    ];
    for (model, shape, expected) in cases {
        assert_eq!(table(&model, &shape), expected, "{model}");
    }
}

#[test]
fn gains_start_at_one_and_the_optimizer_starts_all_else() {
    for (model, shape) in tiny() {
        let store = nn::VarStore::new(Device::Cpu);
        Network::new(&store.root(), &model, &shape).unwrap();
        let all = |name: &str, tensor: &Tensor, value: f64| {
            assert!(numbers(tensor).iter().all(|x| *x == value), "{model}: {name} is not {value}");
        };
        for (name, tensor) in named(&store) {
            all(&name, &tensor, if name.ends_with("gain") { 1.0 } else { 0.0 });
        }
        let mut optimizer = TransportedScion::new(&store, Rule::PLAIN, Arithmetic::Fast).unwrap();
        optimizer.initialise(5).unwrap();
        for (name, tensor) in named(&store) {
            match name.rsplit('.').next() {
                Some("gain") => all(&name, &tensor, 1.0),
                Some("bias") => all(&name, &tensor, 0.0),
                _ => assert!(numbers(&tensor).iter().all(|x| *x != 0.0), "{model}: {name} has zeros"),
            }
        }
    }
}

#[test]
fn an_mlp_is_cores_network() {
    for hidden in [&[][..], &[9], &[12, 7]] {
        let (model, shape) = (mlp(hidden), features(&[2, 5], 4));
        let mut built = build(&model, &shape, 31);
        let layers = Mlp { hidden: hidden.to_vec() }.layers(&shape).unwrap();
        let mut layers = Layers::new(&layers).unwrap();
        let mut tensors = named(&built.store).into_iter();
        layers.parameters(&mut |mut parameter| {
            let (name, tensor) = tensors.next().unwrap();
            let numbers = numbers(&tensor);
            let elements = parameter.state.x.elements_mut();
            assert_eq!(elements.len(), numbers.len(), "{name}");
            elements.iter_mut().zip(numbers).for_each(|(element, number)| *element = number as f32);
        });
        assert!(tensors.next().is_none());
        let input = built.input(&model, &shape, 6);
        for (input, expected) in rows(&input).iter().zip(rows(&built.forward(&input))) {
            let input: Vec<f32> = input.iter().map(|x| *x as f32).collect();
            let mut trace = vec![0.0; layers.trace()];
            layers.forward(Point::Iterate, &input, &mut trace);
            let outputs: Vec<f64> = trace[layers.trace() - layers.outputs()..].iter().map(|x| f64::from(*x)).collect();
            assert!(difference(&outputs, &expected) < 1e-5, "{outputs:?} and {expected:?}");
        }
    }
}

fn refusal<T>(result: Result<T, impl Into<Error>>) -> String {
    match result.map_err(Into::into) {
        Err(Error::Graftage(graftage::error::Error::Usage(line))) => {
            assert!(!line.contains('\n'), "{line}");
            line
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was taken"),
    }
}

#[test]
fn a_configuration_that_cannot_work_is_refused_in_a_line() {
    let image = features(&[8, 12], 3);
    let flat = features(&[8], 3);
    let cases = [
        (
            mlp(&[4]),
            features(&[0, 3], 3),
            "samples of shape [0, 3] in 3 classes: there must be at least one feature and two classes",
        ),
        (
            mlp(&[4]),
            features(&[5], 1),
            "samples of shape [5] in 1 classes: there must be at least one feature and two classes",
        ),
        (mlp(&[4]), Shape::Text, "[model.mlp] takes samples with features, but the data is a text; use [model.gpt]"),
        (mlp(&[4, 0]), flat.clone(), "[model] hidden must be from 1 to 1048576, found 0"),
        (mlp(&[1 << 21]), flat.clone(), "[model] hidden must be from 1 to 1048576, found 2097152"),
        (convolutional(&[4], 1, 3, 5), Shape::Text, "this model takes images, but the data is a text; use [model.gpt]"),
        (
            convolutional(&[4], 1, 3, 5),
            flat.clone(),
            "samples of shape [8] are not images: an image is height × width or channels × height × width",
        ),
        (convolutional(&[4], 0, 3, 5), image.clone(), "[model] convolutions must be from 1 to 1048576, found 0"),
        (convolutional(&[4], 1, 0, 5), image.clone(), "[model] kernel must be from 1 to 1048576, found 0"),
        (convolutional(&[4], 1, 3, 0), image.clone(), "[model] hidden must be from 1 to 1048576, found 0"),
        (convolutional(&[4, 0], 1, 3, 5), image.clone(), "[model] channels must be from 1 to 1048576, found 0"),
        (
            convolutional(&[], 1, 3, 5),
            image.clone(),
            "[model.convolutional] channels must name at least one block; [32, 64] makes two",
        ),
        (
            convolutional(&[4], 1, 4, 5),
            image.clone(),
            "[model.convolutional] kernel must be odd and at most 23, found 4",
        ),
        (
            convolutional(&[4], 1, 25, 5),
            image.clone(),
            "[model.convolutional] kernel must be odd and at most 23, found 25",
        ),
        (
            convolutional(&[4; 4], 1, 3, 5),
            image.clone(),
            "[model.convolutional] channels: 4 blocks would halve an image of 8×12 to nothing; use at most 3",
        ),
        (
            gpt([1, 8, 2, 4], false),
            flat.clone(),
            "[model.gpt] takes a text, but the data has features; use [data.text]",
        ),
        (gpt([1, 8, 2, 0], false), Shape::Text, "[model] context must be from 1 to 1048576, found 0"),
        (gpt([0, 8, 2, 4], false), Shape::Text, "[model] layers must be from 1 to 1048576, found 0"),
        (gpt([1, 0, 2, 4], false), Shape::Text, "[model] width must be from 1 to 1048576, found 0"),
        (gpt([1, 8, 0, 4], false), Shape::Text, "[model] heads must be from 1 to 1048576, found 0"),
        (
            gpt([1, 12, 4, 4], false),
            Shape::Text,
            "[model] width: 12 cannot be divided into 4 heads of an even size, which rotary positions need; use 16",
        ),
        (vit([1, 8, 2, 4]), Shape::Text, "this model takes images, but the data is a text; use [model.gpt]"),
        (
            vit([1, 8, 2, 4]),
            flat,
            "samples of shape [8] are not images: an image is height × width or channels × height × width",
        ),
        (vit([1, 8, 2, 0]), image.clone(), "[model] patch must be from 1 to 1048576, found 0"),
        (vit([1, 8, 2, 3]), image.clone(), "[model.vit] patch: 3 does not divide an image of 8×12; use one of 1, 2, 4"),
        (vit([0, 8, 2, 4]), image.clone(), "[model] layers must be from 1 to 1048576, found 0"),
        (vit([1, 8, 3, 4]), image.clone(), "[model] width: 8 cannot be divided into 3 heads; use 9"),
    ];
    for (model, shape, expected) in cases {
        assert_eq!(refusal(model.check(&shape)), expected);
        assert_eq!(refusal(model.parameters(&shape)), expected);
        assert_eq!(refusal(model.activations(&shape)), expected);
        let store = nn::VarStore::new(Device::Cpu);
        assert_eq!(refusal(Network::new(&store.root(), &model, &shape)), expected);
        assert!(store.is_empty());
    }
    // The advice in the messages works.
    let advice = [
        (convolutional(&[4], 1, 23, 5), &image),
        (convolutional(&[4; 3], 1, 3, 5), &image),
        (gpt([1, 16, 4, 4], false), &Shape::Text),
        (vit([1, 8, 2, 1]), &image),
        (vit([1, 8, 2, 2]), &image),
        (vit([1, 9, 3, 4]), &image),
    ];
    for (model, shape) in advice {
        model.check(shape).unwrap();
    }
}

#[test]
fn an_input_of_another_size_or_kind_is_refused() {
    for (model, shape) in tiny() {
        let mut built = build(&model, &shape, 41);
        let input = built.input(&model, &shape, 2);
        let (columns, kind) = (input.size()[1], input.kind());
        let wrong = [
            Tensor::zeros([2, columns + 1], (kind, Device::Cpu)),
            Tensor::zeros([2, 0], (kind, Device::Cpu)),
            // The count of numbers is right, but this is no batch of samples.
            input.view([1, 2, columns]),
            input.flatten(0, 1),
            input.to_kind(Kind::Double),
        ];
        for input in wrong {
            for precision in [Precision::Float32, Precision::Bfloat16] {
                let line = refusal(built.network.forward(&input, precision));
                assert!(line.starts_with(&format!("the input has shape {:?}", input.size())), "{line}");
            }
        }
        let _ = built.forward(&input);
    }
    // libtorch refuses a byte that does not exist.
    let built = build(&gpt([1, 8, 2, 4], true), &Shape::Text, 42);
    let result = built.network.forward(&Tensor::from_slice(&[256i64]).view([1, 1]), Precision::Float32);
    assert!(matches!(result, Err(Error::Torch(_))));
}

#[test]
fn another_width_keeps_depth_and_size_of_heads() {
    let cases = [
        (mlp(&[8, 16]), mlp(&[24, 24])),
        (convolutional(&[8, 16, 4], 2, 3, 5), convolutional(&[24, 48, 12], 2, 3, 5)),
        (gpt([3, 8, 2, 4], true), gpt([3, 24, 6, 4], true)),
        (vit([3, 12, 3, 4]), vit([3, 24, 6, 4])),
    ];
    for (model, expected) in cases {
        assert_eq!(model.with_width(24).unwrap(), expected);
    }
    let line = refusal(gpt([1, 16, 2, 4], false).with_width(20));
    assert_eq!(line, "a width of 20 is not a multiple of 8, the size of a head");
}

#[test]
fn a_configuration_is_what_it_says() {
    let expected: HashMap<&str, Model> = HashMap::from([
        (r#"{"mlp":{"hidden":[3,4]}}"#, mlp(&[3, 4])),
        (r#"{"convolutional":{}}"#, convolutional(&[32, 64], 2, 3, 128)),
        (r#"{"gpt":{"layers":1,"width":8,"heads":2,"context":4}}"#, gpt([1, 8, 2, 4], false)),
        (r#"{"vit":{"layers":1,"width":8,"heads":2,"patch":4}}"#, vit([1, 8, 2, 4])),
    ]);
    for (text, model) in expected {
        assert_eq!(serde_json::from_str::<Model>(text).unwrap(), model);
        let again = serde_json::to_string(&model).unwrap();
        assert_eq!(serde_json::from_str::<Model>(&again).unwrap(), model);
    }
    let error = serde_json::from_str::<Model>(r#"{"vit":{"layers":1,"width":8,"heads":2,"patches":4}}"#).unwrap_err();
    assert!(error.to_string().contains("unknown field `patches`"), "{error}");
}
