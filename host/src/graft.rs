//! A checkpoint becomes a weights image and the Rust type of its network, with one schema hash in both.

use crate::adaptation::trained;
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::files::Folder;
use crate::image::with_names;
use graftage_core::adapt::Recipe;
use graftage_core::arithmetic::Functions;
use graftage_core::image::{Header, write};
use graftage_core::network::{Kind, Layer, Window, train_last};
use graftage_core::scion::Geometry;
use std::path::Path;

/// Name of the image in the folder that [`graft`] writes.
pub const IMAGE: &str = "image.grft";
/// Name of the type.
pub const NETWORK: &str = "network.rs";

/// Writes `image.grft` and `network.rs` into a folder, which is made where it is missing. On the device the last `learning`
/// layers with weights learn, the others are frozen; `usize::MAX` is all of them. Features that were divided by one number
/// are sent divided by it; those that were normalised in any other way are sent as they are, and a frozen layer before all
/// others does the same to them in the same bits.
///
/// # Errors
/// Where core has no layers for the model, no layer would learn, the recipe is refused, the network has too many layers for an image, or a file cannot be written.
pub fn graft(checkpoint: &Checkpoint, recipe: Recipe, learning: usize, folder: &Path) -> Result<Header> {
    let grafted = Grafted::new(checkpoint, recipe, learning)?;
    grafted.write(&Folder::open(folder, true)?)?;
    Ok(grafted.header)
}

/// An image and the type of its network.
#[derive(Clone, PartialEq, Debug)]
pub struct Grafted {
    /// What the image says of itself.
    pub header: Header,
    image: Vec<u8>,
    network: String,
}

impl Grafted {
    /// Writes both into a folder, at once.
    ///
    /// # Errors
    /// Where they cannot be written: the folder is as it was then.
    pub fn write(&self, folder: &Folder) -> Result<()> {
        let mut change = folder.change();
        change.add(IMAGE, &self.image)?;
        change.add(NETWORK, self.network.as_bytes())?;
        change.commit()
    }

    /// Makes both, as [`graft()`] says.
    ///
    /// # Errors
    /// Where core has no layers for the model, its normalisation is no arithmetic, no layer learns, or the recipe is refused.
    pub fn new(checkpoint: &Checkpoint, recipe: Recipe, learning: usize) -> Result<Self> {
        recipe.check(usize::MAX)?;
        if learning == 0 {
            return Err(Error::Usage("at least one layer learns".into()));
        }
        let mut layers = checkpoint.about.layers()?;
        let (scale, constants) = checkpoint.about.inputs()?;
        let too_many = |_| Error::Usage(format!("an image holds at most {} layers", graftage_core::image::LAYERS));
        let mut geometries = vec![Geometry::FROZEN; constants.len()];
        if let [means, ..] = &constants[..] {
            layers.insert(0, Kind::Standardise { width: means.len() as u32 });
        }
        let mut network = trained(checkpoint)?;
        train_last(&mut network, learning);
        network.parameters(&mut |parameter| geometries.push(*parameter.geometry));
        let header = Header {
            schema: Kind::schema(&layers),
            layers: heapless_from(&layers).map_err(too_many)?,
            geometries: heapless_from(&geometries).map_err(too_many)?,
            recipe,
            scale,
        };
        let weights = constants.iter().map(Vec::as_slice).chain(checkpoint.weights()).flatten().copied();
        let mut memory = vec![0; 4096 + 4 * weights.clone().count()];
        let image =
            write(&header, weights, &mut memory).ok_or_else(|| Error::Usage("the header is too long".into()))?;
        let image = with_names(image, &checkpoint.about.legend);
        Ok(Self { header, image, network: self::network(&layers) })
    }
}

fn heapless_from<T: Clone, const N: usize>(items: &[T]) -> std::result::Result<graftage_link::Vec<T, N>, ()> {
    graftage_link::Vec::from_slice(items).map_err(|_| ())
}

/// The Rust type of a network, to be included by a firmware.
pub fn network(layers: &[Kind]) -> String {
    let names = layers.iter().map(|kind| layer(*kind)).collect::<Vec<_>>().join(", ");
    format!(
        "// Written by `graftage graft`; the image beside it has the same schema.
#[allow(unused_imports)]
use graftage_core::network::*;

/// The network, as its layers stand one after another.
pub type Network = graftage_core::chain![{names}];

/// Hash of its schema.
pub const SCHEMA: u64 = 0x{:016x};

const _: () = assert!(<Network as Fixed>::SCHEMA == SCHEMA, \"the type was changed by hand: graft it again\");
",
        Kind::schema(layers)
    )
}

/// The type of a layer.
fn layer(kind: Kind) -> String {
    let slides = |Window { places, channels, taps, stride }: Window| format!("{places}, {channels}, {taps}, {stride}");
    match kind {
        Kind::Dense { inputs, outputs } => format!("Dense<{inputs}, {outputs}>"),
        Kind::Relu { width } => format!("Relu<{width}>"),
        Kind::Tanh { width, functions: Functions::Libm } => format!("Tanh<{width}>"),
        Kind::Tanh { width, functions: Functions::Micromath } => format!("MicromathTanh<{width}>"),
        Kind::Convolution { window: Window { places, channels, taps, stride }, filters } => {
            format!("Convolution<{places}, {channels}, {filters}, {taps}, {stride}>")
        }
        Kind::Depthwise(window) => format!("Depthwise<{}>", slides(window)),
        Kind::AveragePool(window) => format!("AveragePool<{}>", slides(window)),
        Kind::MaxPool(window) => format!("MaxPool<{}>", slides(window)),
        Kind::RmsNorm { places, channels } => format!("RmsNorm<{channels}, {places}>"),
        Kind::Standardise { width } => format!("Standardise<{width}>"),
    }
}
