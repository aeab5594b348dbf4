//! Core's adaptation over a network and a replay buffer that are assembled at run time.

use crate::checkpoint::Checkpoint;
use crate::data::Samples;
use crate::error::{Error, Result};
use crate::network::Layers;
use graftage_core::adapt::{Adaptation, Recipe, Replay};
use graftage_core::error::Refusal;
use graftage_core::image::Image;
use graftage_core::matrix::RowMajor;
use graftage_core::network::{self, Layer, Parameter, Prediction, scratch_length, usual_geometries};
use graftage_core::norm::Norm;
use graftage_core::scion::{Geometry, LARGEST, Pull, Role};
use graftage_core::session::Session;
use std::collections::VecDeque;

/// Replay buffer of the last labelled samples, as many as the recipe asks for.
#[derive(Clone, Debug, Default)]
pub struct Memory(VecDeque<(Vec<f32>, u32)>);

impl Replay for Memory {
    fn capacity(&self) -> usize {
        usize::MAX
    }
    fn len(&self) -> usize {
        self.0.len()
    }
    fn clear(&mut self) {
        self.0.clear();
    }
    fn push(&mut self, keep: usize, input: impl IntoIterator<Item = f32>, label: u32) {
        while self.0.len() >= keep && self.0.pop_front().is_some() {}
        self.0.push_back((input.into_iter().collect(), label));
    }
    fn keep_newest(&mut self, keep: usize) {
        self.0.drain(..self.0.len().saturating_sub(keep));
    }
    fn keep_oldest(&mut self, keep: usize) {
        self.0.truncate(keep);
    }
    fn replace(&mut self, index: usize, input: &[f32], label: u32) {
        if let Some(sample) = self.0.get_mut(index) {
            *sample = (input.to_vec(), label);
        }
    }
    fn get(&self, index: usize) -> Option<(&[f32], u32)> {
        self.0.get(index).map(|(input, label)| (input.as_slice(), *label))
    }
}

/// Adaptation on the workstation.
pub type Workstation<'i, N> = Adaptation<'i, N, Memory, Vec<f32>>;

/// Starts an adaptation of a network on the workstation. `start` holds the weights X₀ to which the recipe may pull,
/// from an [image](Image::start) or a [checkpoint](Checkpoint::words). It may be empty if the recipe does not pull to
/// the start.
///
/// # Errors
/// If the recipe is refused, or pulls to the start and `start` has another number of weights than the network.
pub fn start<N: Layer>(network: N, recipe: Recipe, start: &[[u8; 4]]) -> Result<Workstation<'_, N>> {
    let mut adaptation = unstarted(network, start);
    adaptation.start(recipe)?;
    Ok(adaptation)
}

fn unstarted<N: Layer>(mut network: N, start: &[[u8; 4]]) -> Workstation<'_, N> {
    let memory = vec![0.0; scratch_length(&mut network)];
    let mut adaptation = Adaptation::with(network, Memory::default(), memory);
    adaptation.set_start(start);
    adaptation
}

/// Sessions on the workstation.
pub type Sessions<'i, N> = Session<'i, N, Memory, Vec<f32>, Vec<f32>, Memory>;

/// Starts a network's sessions on the workstation; for `start`, see [`start()`].
///
/// # Errors
/// Same as [`start()`].
pub fn start_sessions<N: Layer>(mut network: N, recipe: Recipe, start: &[[u8; 4]]) -> Result<Sessions<'_, N>> {
    let mut weights = 0;
    network.parameters(&mut |parameter| weights += parameter.state.x.elements().len());
    let mut sessions = Session::with(unstarted(network, start), vec![0.0; weights], Memory::default());
    sessions.start(recipe)?;
    Ok(sessions)
}

/// Builds the network of an image, as a device starts with it.
///
/// # Errors
/// If the layers do not fit together, or the weights do not fit the layers.
pub fn network(image: &Image) -> Result<Layers> {
    let unfit = || Error::Usage("the layers of the image do not match each other".into());
    let mut network = Layers::new(&image.header.layers).ok_or_else(unfit)?;
    image.load(image.header.schema, &mut network).map_err(|_| unfit())?;
    Ok(network)
}

/// Share of samples that are predicted correctly; NaN if there are none.
///
/// # Errors
/// If a sample is refused.
pub fn accuracy(
    samples: &Samples,
    mut predict: impl FnMut(&[f32]) -> std::result::Result<Prediction, Refusal>,
) -> Result<f32> {
    let mut right = 0;
    for (input, label) in samples.iter() {
        right += u32::from(predict(input)?.class == label);
    }
    Ok(right as f32 / samples.len() as f32)
}

/// Builds the network of a checkpoint with the usual geometries.
///
/// # Errors
/// If the layers do not fit together.
pub fn trained(checkpoint: &Checkpoint) -> Result<Layers> {
    let mut network = checkpoint.network()?;
    usual_geometries(&mut network);
    Ok(network)
}

/// Radius of a layer before the head, relative to the norm of its weights.
const SHARE: f32 = 0.25;
/// Largest factor by which a computed norm is too small.
const PRECISION: f32 = 1.01;

/// Makes only the last `layers` layers with weights learn, with radii that follow the scale of their weights, and
/// freezes those before them. See core's [`train_last`](network::train_last).
///
/// The radius of a head is the norm of its weights; that of an earlier layer is a quarter of it. For networks trained
/// with this rule, these are about the usual radii. The weights of other networks have any scale: steps of the usual
/// size would hardly move them, or would destroy them. The radius of a bias keeps its proportion to that of the weights
/// before it. Gains, and weights that are all 0 together with their bias, have the usual radius.
pub fn train_last(network: &mut Layers, layers: usize) {
    network::train_last(network, layers);
    let mut scale = 1.0;
    network.parameters(&mut |parameter| {
        if parameter.geometry.is_frozen() {
            return;
        }
        if parameter.role.is_weights() {
            let Geometry { norm, radius } = *parameter.geometry;
            let share = if norm == Norm::Sign { 1.0 } else { SHARE };
            let own = share * norm_of(&parameter);
            scale = if own > 0.0 { own / radius } else { 1.0 };
        }
        if parameter.role.is_weights() || parameter.role == Role::Bias {
            parameter.geometry.radius = (parameter.geometry.radius * scale).min(LARGEST);
        }
    });
}

/// Refuses a pull to zero that would first shrink weights into the ball to which it confines them. This applies if the
/// recipe has a movement budget, which does not bound such steps, or if `imported` weights should stay where they are.
///
/// # Errors
/// If a parameter is outside its ball; the message names the first one and the remedy.
pub fn check_ball(network: &mut Layers, recipe: &Recipe, imported: bool) -> Result<()> {
    let Pull::Zero { strength } = recipe.rule.pull else { return Ok(()) };
    let (option, what) = match recipe.budget {
        _ if imported => ("--train-last", "they would shrink before they learn anything"),
        Some(_) => ("--movement-budget", "no budget can hold while they are pulled into it"),
        None => return Ok(()),
    };
    let (mut number, mut outside) = (0, None);
    network.parameters(&mut |parameter| {
        number += 1;
        let (norm, ball) = (norm_of(&parameter), parameter.geometry.radius / strength);
        if !parameter.geometry.is_frozen() && norm > PRECISION * ball && outside.is_none() {
            outside = Some(format!(
                "{option} with a pull to zero: the weights of parameter {number} have norm {norm}, outside their ball of radius {ball}: {what}; use --pull start to keep them near where they are"
            ));
        }
    });
    outside.map_or(Ok(()), |what| Err(Error::Usage(what)))
}

/// ‖X‖ in the norm of the parameter's geometry.
fn norm_of(Parameter { state, geometry, .. }: &Parameter) -> f32 {
    let (m, n) = state.x.shape();
    // This memory suffices for every norm.
    geometry.norm.of(&state.x, &mut vec![0.0; m + n]).unwrap_or_default()
}
