//! Core's layers, assembled at run time, with the same kernels and bits as a network whose shape is a type.

use graftage_core::matrix::{RowMajor, Slab};
use graftage_core::network::activation::Function;
use graftage_core::network::pooling::{Average, Maximum};
use graftage_core::network::{
    Activation, Affine, ChannelFilters, Filters, Kind, Layer, Normalisation, Parameter, Pool, Standardisation,
};
use graftage_core::scion::{Point, Rule, Scion};
use std::fmt;
use std::ops::Range;

/// A network whose architecture is known at run time.
pub struct Layers {
    kinds: Vec<Kind>,
    layers: Vec<Box<dyn Layer + Send>>,
}

impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.kinds.fmt(f)
    }
}

impl Layers {
    /// Creates a network with all weights 0; `None` if the kinds are empty or do not fit together.
    pub fn new(kinds: &[Kind]) -> Option<Self> {
        let fits = kinds.windows(2).all(|pair| pair[0].shape().outputs == pair[1].shape().inputs);
        if !fits || kinds.is_empty() {
            return None;
        }
        let layers = kinds.iter().map(|kind| build(*kind)).collect::<Option<_>>()?;
        Some(Self { kinds: kinds.to_vec(), layers })
    }

    /// Architecture, layer by layer.
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }
}

/// X, Y and M of a parameter.
pub type View<'a> = Scion<Slab<&'a mut [f32]>>;

fn build(kind: Kind) -> Option<Box<dyn Layer + Send>> {
    Some(match kind {
        Kind::Dense { inputs, outputs } => Box::new(Affine::new(zeros(outputs, inputs)?, zeros(1, outputs)?)?),
        Kind::Relu { width } => Box::new(Activation::new(Function::Rectifier, width as usize)),
        Kind::Tanh { width, functions } => Box::new(Activation::new(Function::Tanh(functions), width as usize)),
        Kind::Convolution { window, filters } => {
            let size = window.taps.checked_mul(window.channels)?;
            Box::new(Filters::new(window, zeros(filters, size)?, zeros(1, filters)?)?)
        }
        Kind::Depthwise(window) => {
            let (weights, bias) = (zeros(window.channels, window.taps)?, zeros(1, window.channels)?);
            Box::new(ChannelFilters::new(window, weights, bias)?)
        }
        Kind::AveragePool(window) => Box::new(Pool::<_, Average>::new(window)?),
        Kind::MaxPool(window) => Box::new(Pool::<_, Maximum>::new(window)?),
        Kind::RmsNorm { places, channels } => Box::new(Normalisation::new(places as usize, zeros(1, channels)?)?),
        Kind::Clip { width, bound } => {
            let possible = kind.shape().outputs > 0;
            possible.then(|| Box::new(Activation::new(Function::Clip { bound }, width as usize)))?
        }
        Kind::Standardise { width } => Box::new(Standardisation::new(zeros(1, width)?, zeros(1, width)?)?),
    })
}

fn zeros(rows: u32, columns: u32) -> Option<Scion<Slab<Vec<f32>>>> {
    let (rows, columns) = (rows as usize, columns as usize);
    let zeros = || Slab::new(rows, columns, vec![0.0; rows.checked_mul(columns)?]);
    Some(Scion { x: zeros()?, y: zeros()?, m: zeros()? })
}

impl Layer for Layers {
    fn inputs(&self) -> usize {
        self.layers.first().map_or(0, |layer| layer.inputs())
    }
    fn outputs(&self) -> usize {
        self.layers.last().map_or(0, |layer| layer.outputs())
    }
    fn trace(&self) -> usize {
        self.layers.iter().map(|layer| layer.trace()).sum()
    }
    fn forward(&self, at: Point, input: &[f32], trace: &mut [f32]) {
        let (mut input, mut trace) = (input, trace);
        for layer in &self.layers {
            let (mine, rest) = trace.split_at_mut(layer.trace());
            layer.forward(at, input, mine);
            (input, trace) = (&mine[layer.trace() - layer.outputs()..], rest);
        }
    }
    fn backward(&self, at: Point, input: &[f32], trace: &[f32], errors: &mut [f32], input_errors: &mut [f32]) {
        // Like `Chain`: errors are propagated back only as far as the first layer that trains.
        let first = if input_errors.is_empty() { self.layers.iter().position(|layer| layer.trains()) } else { Some(0) };
        let (mut trace, mut errors) = (trace, errors);
        for (index, layer) in self.layers.iter().enumerate().rev() {
            let start = trace.len() - layer.trace();
            let (before, mine) = trace.split_at(start);
            let (errors_before, my_errors) = errors.split_at_mut(start);
            let width = layer.inputs();
            let input = if index == 0 { input } else { &before[start - width..] };
            let wanted = first.is_some_and(|first| first < index);
            let errors_of_input = match (index, wanted) {
                (0, _) => &mut *input_errors,
                (_, true) => &mut errors_before[start - width..],
                (_, false) => &mut [],
            };
            layer.backward(at, input, mine, my_errors, errors_of_input);
            if !wanted {
                return;
            }
            (trace, errors) = (before, errors_before);
        }
    }
    fn trains(&self) -> bool {
        self.layers.iter().any(|layer| layer.trains())
    }
    fn admits(&self, input: &[f32], trace: &[f32], errors: &[f32]) -> bool {
        let (mut input, mut trace, mut errors) = (input, trace, errors);
        self.layers.iter().all(|layer| {
            let (mine, rest) = trace.split_at(layer.trace());
            let (my_errors, rest_errors) = errors.split_at(layer.trace());
            let admits = !layer.trains() || layer.admits(input, mine, my_errors);
            (input, trace, errors) = (&mine[layer.trace() - layer.outputs()..], rest, rest_errors);
            admits
        })
    }
    fn accumulate(&mut self, keep: f32, input: &[f32], trace: &[f32], errors: &[f32]) {
        let (mut input, mut trace, mut errors) = (input, trace, errors);
        for layer in &mut self.layers {
            let (mine, rest) = trace.split_at(layer.trace());
            let (my_errors, rest_errors) = errors.split_at(layer.trace());
            if layer.trains() {
                layer.accumulate(keep, input, mine, my_errors);
            }
            (input, trace, errors) = (&mine[layer.trace() - layer.outputs()..], rest, rest_errors);
        }
    }
    fn parameters(&mut self, visit: &mut dyn FnMut(Parameter)) {
        for layer in &mut self.layers {
            layer.parameters(visit);
        }
    }
}

/// An update of a network's parameters that replaces core's rule over slabs: a control, or the rule on tensors.
pub trait Update {
    /// Takes step `t` of parameter number `index`, based on M. In each step, parameters are visited from the first to
    /// the last. `start` holds the parameter's initial weights, if they are known.
    fn advance(&mut self, index: usize, parameter: Parameter, rule: &Rule, t: u64, start: Option<&[[u8; 4]]>);
}

/// A network whose parameters are moved by another [`Update`]; everything else is the network's own.
#[derive(Debug)]
pub struct MovedBy<U> {
    network: Layers,
    update: U,
}

impl<U: Update> MovedBy<U> {
    /// Wraps a network in its current state.
    pub fn new(network: Layers, update: U) -> Self {
        Self { network, update }
    }
}

impl<U: Update> Layer for MovedBy<U> {
    fn inputs(&self) -> usize {
        self.network.inputs()
    }
    fn outputs(&self) -> usize {
        self.network.outputs()
    }
    fn trace(&self) -> usize {
        self.network.trace()
    }
    fn forward(&self, at: Point, input: &[f32], trace: &mut [f32]) {
        self.network.forward(at, input, trace);
    }
    fn backward(&self, at: Point, input: &[f32], trace: &[f32], errors: &mut [f32], input_errors: &mut [f32]) {
        self.network.backward(at, input, trace, errors, input_errors);
    }
    fn trains(&self) -> bool {
        self.network.trains()
    }
    fn admits(&self, input: &[f32], trace: &[f32], errors: &[f32]) -> bool {
        self.network.admits(input, trace, errors)
    }
    fn accumulate(&mut self, keep: f32, input: &[f32], trace: &[f32], errors: &[f32]) {
        self.network.accumulate(keep, input, trace, errors);
    }
    fn parameters(&mut self, visit: &mut dyn FnMut(Parameter)) {
        self.network.parameters(visit);
    }
    fn advance(&mut self, places: Range<usize>, rule: &Rule, t: u64, start: &[[u8; 4]], _scratch: &mut [f32]) {
        let (Self { network, update }, mut place, mut rest) = (self, 0, start);
        network.parameters(&mut |parameter| {
            let own = rest.split_at_checked(parameter.state.x.elements().len());
            rest = own.map_or(&[], |(_, after)| after);
            if places.contains(&place) {
                update.advance(place, parameter, rule, t, own.map(|(own, _)| own));
            }
            place += 1;
        });
    }
}
