//! Layers and losses in float64, each written from its equation with plain loops, and gradients by central differences.

/// L places of C channels, with windows of K taps at a stride of S places.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub l: usize,
    pub c: usize,
    pub k: usize,
    pub s: usize,
}

impl Window {
    /// Returns the number of output places, counted one by one.
    pub fn places(self) -> usize {
        (0..self.l).step_by(self.s).take_while(|first| first + self.k <= self.l).count()
    }
}

/// Layer of the oracle.
#[derive(Clone, Copy, Debug)]
pub enum Layer {
    Dense { inputs: usize, outputs: usize },
    Relu,
    Tanh,
    Convolution { window: Window, filters: usize },
    Depthwise(Window),
    AveragePool(Window),
    MaxPool(Window),
    RmsNorm { channels: usize },
    Standardise { width: usize },
    Clip { bound: f64 },
}

impl Layer {
    /// Returns the number of weights in all its parameters.
    pub fn weights(self) -> usize {
        match self {
            Layer::Dense { inputs, outputs } => outputs * inputs + outputs,
            Layer::Convolution { window, filters } => filters * window.k * window.c + filters,
            Layer::Depthwise(window) => window.c * window.k + window.c,
            Layer::RmsNorm { channels } => channels,
            Layer::Standardise { width } => 2 * width,
            Layer::Relu | Layer::Tanh | Layer::AveragePool(_) | Layer::MaxPool(_) | Layer::Clip { .. } => 0,
        }
    }

    pub fn forward(self, w: &[f64], a: &[f64]) -> Vec<f64> {
        match self {
            Layer::Dense { inputs, outputs } => {
                let row = |o| (0..inputs).map(|i| w[o * inputs + i] * a[i]).sum::<f64>();
                (0..outputs).map(|o| w[outputs * inputs + o] + row(o)).collect()
            }
            Layer::Relu => a.iter().map(|a| a.max(0.0)).collect(),
            Layer::Tanh => a.iter().map(|a| a.tanh()).collect(),
            Layer::Standardise { width } => {
                let (means, deviations) = w.split_at(width);
                a.iter().zip(means).zip(deviations).map(|((a, mean), deviation)| (a - mean) / deviation).collect()
            }
            Layer::Clip { bound } => a.iter().map(|a| a.clamp(-bound, bound)).collect(),
            Layer::Convolution { window, filters } => {
                let Window { c, k, s, .. } = window;
                each(window.places(), filters, |p, f| {
                    let mut sum = w[filters * k * c + f];
                    for tap in 0..k {
                        for channel in 0..c {
                            sum += w[f * k * c + tap * c + channel] * a[(p * s + tap) * c + channel];
                        }
                    }
                    sum
                })
            }
            Layer::Depthwise(window @ Window { c, k, s, .. }) => each(window.places(), c, |p, channel| {
                let taps = (0..k).map(|tap| w[channel * k + tap] * a[(p * s + tap) * c + channel]);
                w[c * k + channel] + taps.sum::<f64>()
            }),
            Layer::AveragePool(window @ Window { c, k, s, .. }) => each(window.places(), c, |p, channel| {
                (0..k).map(|tap| a[(p * s + tap) * c + channel]).sum::<f64>() / k as f64
            }),
            Layer::MaxPool(window @ Window { c, k, s, .. }) => each(window.places(), c, |p, channel| {
                (0..k).map(|tap| a[(p * s + tap) * c + channel]).fold(f64::NEG_INFINITY, f64::max)
            }),
            Layer::RmsNorm { channels } => {
                let place = |place: &[f64]| {
                    let rms = (place.iter().map(|a| a * a).sum::<f64>() / channels as f64).sqrt();
                    let normalised = |a: f64| if rms == 0.0 { 0.0 } else { a / rms };
                    place.iter().zip(w).map(|(a, g)| g * normalised(*a)).collect::<Vec<_>>()
                };
                a.chunks(channels).flat_map(place).collect()
            }
        }
    }
}

/// Evaluates f for every place and channel.
fn each(places: usize, channels: usize, f: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    (0..places).flat_map(|p| (0..channels).map(move |c| (p, c))).map(|(p, c)| f(p, c)).collect()
}

/// Returns the outputs of consecutive layers, whose weights follow one another.
pub fn outputs(layers: &[Layer], mut weights: &[f64], input: &[f64]) -> Vec<f64> {
    layers.iter().fold(input.to_vec(), |a, layer| {
        let (mine, rest) = weights.split_at(layer.weights());
        weights = rest;
        layer.forward(mine, &a)
    })
}

/// Returns the cross-entropy ln Σ exp a − a_y.
pub fn cross_entropy(a: &[f64], label: usize) -> f64 {
    let top = a.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    top + a.iter().map(|a| (a - top).exp()).sum::<f64>().ln() - a[label]
}

/// Returns the errors of a sample, scaled down to the length `cap` if they are longer.
pub fn capped(errors: &[f64], cap: f64) -> Vec<f64> {
    let length = errors.iter().map(|e| e * e).sum::<f64>().sqrt();
    errors.iter().map(|e| e * (cap / length).min(1.0)).collect()
}

/// Returns the mean of the squares of a − y.
pub fn squared_error(a: &[f64], y: &[f64]) -> f64 {
    a.iter().zip(y).map(|(a, y)| (a - y) * (a - y)).sum::<f64>() / a.len() as f64
}

/// Returns the partial derivatives of f at a point.
pub fn gradient(f: impl Fn(&[f64]) -> f64, at: &[f64]) -> Vec<f64> {
    let moved = |i: usize, h: f64| {
        let mut point = at.to_vec();
        point[i] += h;
        f(&point)
    };
    (0..at.len()).map(|i| (moved(i, 1e-5) - moved(i, -1e-5)) / 2e-5).collect()
}
