//! Conversion of a checkpoint into a weights image and the Rust type of its network, which share a schema hash.

use crate::checkpoint::{Checkpoint, Inputs};
use crate::error::{Error, Result};
use crate::files::Folder;
use crate::image::with_names;
use crate::rule;
use crate::workstation::{check_ball, train_last, trained};
use graftage_core::adapt::Recipe;
use graftage_core::image::{Header, write};
use graftage_core::network::{Kind, Layer};
use graftage_core::scion::Geometry;
use std::path::Path;

/// Name of the image file that [`graft()`] writes.
pub const IMAGE: &str = "image.grft";
/// Name of the file with the network's type.
pub const NETWORK: &str = "network.rs";

/// Maximum number of samples in a device's replay buffer, and maximum number that it holds out.
pub const SAMPLES: u32 = 65_536;

/// Writes `image.grft` and `network.rs` into a folder, which is created if it is missing.
///
/// On the device, the last `learning` layers with weights learn, with radii on the scale of their weights
/// ([`train_last`]); the others are frozen. With `usize::MAX`, all layers learn, with the usual radii. A firmware that
/// is built with that `network.rs` has room for as many samples as the recipe keeps.
///
/// If normalisation is a division by one number, features are sent divided by it. Otherwise they are sent unscaled, and
/// frozen layers in front of the others perform the same normalisation bit for bit.
///
/// # Errors
/// If core has no layers for the model, binary32 cannot hold its features, the number of layers to learn is zero or too
/// large, the recipe is refused, never learns, pulls weights to zero that should stay where they are ([`check_ball`])
/// or keeps more than [`SAMPLES`], the network has too many layers for an image, or a file cannot be written.
pub fn graft(checkpoint: &Checkpoint, recipe: Recipe, learning: usize, folder: &Path) -> Result<Header> {
    let grafted = Grafted::new(checkpoint, recipe, learning)?;
    grafted.write(&Folder::open(folder, true)?)?;
    Ok(grafted.header)
}

/// An image and the Rust type of its network.
#[derive(Clone, PartialEq, Debug)]
pub struct Grafted {
    /// Header of the image.
    pub header: Header,
    image: Vec<u8>,
    network: String,
}

impl Grafted {
    /// Writes both files into a folder at once.
    ///
    /// # Errors
    /// If they cannot be written. In that case the folder is unchanged.
    pub fn write(&self, folder: &Folder) -> Result<()> {
        let mut change = folder.change();
        change.add(IMAGE, &self.image)?;
        change.add(NETWORK, self.network.as_bytes())?;
        change.commit()
    }

    /// Creates both as described at [`graft()`].
    ///
    /// # Errors
    /// Same as [`graft()`], except that no file is written.
    pub fn new(checkpoint: &Checkpoint, recipe: Recipe, learning: usize) -> Result<Self> {
        recipe.check(usize::MAX)?;
        rule::check(&recipe.rule)?;
        let capacities = Capacities::of(&recipe)?;
        if learning == 0 {
            return Err(Error::Usage("--train-last 0: no layer would learn; it must be at least 1".into()));
        }
        let mut layers = checkpoint.about.layers()?;
        let Inputs { scale, constants, layers: before } = checkpoint.about.inputs()?;
        let too_many = |_| Error::Usage(format!("an image holds at most {} layers", graftage_core::image::LAYERS));
        let mut geometries = vec![Geometry::FROZEN; constants.len()];
        layers.splice(0..0, before);
        let mut network = trained(checkpoint)?;
        let mut weights = 0;
        network.parameters(&mut |parameter| weights += usize::from(parameter.role.is_weights()));
        if learning != usize::MAX && learning > weights {
            let what = format!("--train-last {learning}: the network has only {weights} layers with weights");
            return Err(Error::Usage(what));
        }
        if learning != usize::MAX {
            train_last(&mut network, learning);
        }
        check_ball(&mut network, &recipe, learning != usize::MAX)?;
        network.parameters(&mut |parameter| geometries.push(*parameter.geometry));
        let header = Header {
            schema: Kind::schema(&layers),
            layers: heapless_from(&layers).map_err(too_many)?,
            geometries: heapless_from(&geometries).map_err(too_many)?,
            recipe,
            scale,
            centred: false,
        };
        let weights = constants.iter().map(Vec::as_slice).chain(checkpoint.weights()).flatten().copied();
        let mut memory = vec![0; 4096 + 4 * weights.clone().count()];
        let image =
            write(&header, weights, &mut memory).ok_or_else(|| Error::Usage("the header is too long".into()))?;
        let image = with_names(image, &checkpoint.about.legend);
        Ok(Self { header, image, network: self::network(&layers, capacities) })
    }
}

fn heapless_from<T: Clone, const N: usize>(items: &[T]) -> std::result::Result<graftage_link::Vec<T, N>, ()> {
    graftage_link::Vec::from_slice(items).map_err(|_| ())
}

/// Numbers of samples that a firmware has room for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capacities {
    /// Samples in the replay buffer.
    pub replay: u32,
    /// Held-out samples; 1 if none are held out, because the memory cannot be empty.
    pub held_out: u32,
}

impl Capacities {
    /// Capacities that a recipe needs.
    ///
    /// # Errors
    /// If one exceeds [`SAMPLES`].
    pub fn of(recipe: &Recipe) -> Result<Self> {
        let capacities = Self { replay: recipe.replay, held_out: recipe.hold_out.map_or(1, |hold_out| hold_out.keep) };
        for (option, samples) in [("--replay", capacities.replay), ("--hold-out", capacities.held_out)] {
            if samples > SAMPLES {
                let what = format!("{option}: a device can keep at most {SAMPLES} samples, not {samples}");
                return Err(Error::Usage(what));
            }
        }
        Ok(capacities)
    }
}

/// Rust source with the type of a network and the capacities, to be included by a firmware.
pub fn network(layers: &[Kind], Capacities { replay, held_out }: Capacities) -> String {
    let names = layers.iter().map(Kind::to_string).collect::<Vec<_>>().join(", ");
    format!(
        "// Written by `graftage graft`; the image beside it has the same schema.
#[allow(unused_imports)]
use graftage_core::network::*;

/// The network, as its layers stand one after another.
pub type Network = graftage_core::chain![{names}];

/// Hash of its schema.
pub const SCHEMA: u64 = 0x{:016x};

/// Samples that the replay buffer has room for.
pub const REPLAY: usize = {replay};

/// Samples that there is room to hold out.
pub const HELD_OUT: usize = {held_out};

const _: () = assert!(REPLAY > 0 && HELD_OUT > 0);
const _: () = assert!(<Network as Fixed>::SCHEMA == SCHEMA, \"the type was changed by hand: graft it again\");
",
        Kind::schema(layers)
    )
}
