//! Reasons for refusing a sample, a recipe or an image.

use core::fmt;

/// Reason for refusing a sample, a step or a recipe; nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Refusal {
    /// The sample's length differs from the network's number of inputs.
    Length {
        /// Number of values that the network takes.
        expected: u32,
        /// Number of values in the sample.
        found: u32,
    },
    /// A value of the sample is NaN or infinite.
    NotFinite {
        /// Index of the value in the sample.
        index: u32,
    },
    /// The label is not a class of the network.
    Label {
        /// The refused label.
        label: u32,
        /// Number of classes of the network: labels run from 0 to `classes` − 1.
        classes: u32,
    },
    /// The target's length differs from the network's number of outputs.
    Target {
        /// Number of outputs of the network.
        expected: u32,
        /// Number of values in the target.
        found: u32,
    },
    /// A value of the target is NaN or infinite.
    TargetNotFinite {
        /// Index of the value in the target.
        index: u32,
    },
    /// The network overflows on this sample: an activation, an output or the loss is not finite, or max|δ| or
    /// max|δ|·max|a| exceeds 2^64 in a layer (2^64/P if P places share its weights).
    Overflow,
    /// A field of the recipe is invalid.
    Recipe(Field),
    /// The adaptation has not been started.
    NotStarted,
    /// The next step could move a matrix further than the movement budget allows.
    Budget,
    /// This machine fuses, flushes or rounds differently from IEEE 754: see
    /// [`arithmetic::check`](crate::arithmetic::check).
    Arithmetic,
    /// The scratch memory is too short, or the memory for the weights in use has the wrong length.
    Scratch {
        /// Number of `f32` values needed.
        expected: u32,
        /// Number of `f32` values given.
        found: u32,
    },
    /// The journal has no room for the sample, and a sample that is not recorded must not be learnt.
    Unrecorded,
}

/// Field of a recipe; its message states the valid range.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Field {
    /// The step size η.
    Step,
    /// The strength λ of the pull.
    Pull,
    /// The weights X₀ that the pull to the start needs.
    Start,
    /// The cap on an output error.
    Cap,
    /// The momentum β.
    Momentum,
    /// The share θ of the transport.
    Theta,
    /// The memory b′ of the lag feedback.
    Memory,
    /// The damping q by alignment.
    Damping,
    /// p, r or N of the theory's step size and momentum.
    Theory,
    /// The movement budget.
    Budget,
    /// The selection of held-out samples.
    HoldOut,
    /// The number of samples per step.
    Batch,
    /// The number of steps per sample.
    Steps,
    /// The number of samples that the replay buffer keeps.
    Replay,
    /// A radius ρ of a parameter.
    Radius,
    /// The number of taps in a convolution's norm.
    Taps,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Field::Step => "step size must be > 0 and at most 2^32",
            Field::Pull => "pull must be > 0, and pull times step size at most 1",
            Field::Start => "the pull to the start needs the weights that the network started from",
            Field::Cap => "cap must be > 0",
            Field::Momentum => {
                "momentum must be in [0, 1), a power's exponent in (0, 1], and a ramp at least one step long"
            }
            Field::Theta => "theta must be in [0, 1]",
            Field::Memory => "the memory of the lag feedback must be at least 0 and below every momentum",
            Field::Damping => "the damping by alignment must be at least 0 and finite",
            Field::Theory => {
                "the theory's schedule needs p in (1, 2], a rank of at least 1, and at least as many samples as that"
            }
            Field::Budget => "a movement budget must be > 0",
            Field::HoldOut => {
                "hold-out: EVERY must be at least 2, and KEEP at least 1 and no more than the memory for held-out samples holds"
            }
            Field::Batch => "batch must be from 1 to 65536",
            Field::Steps => "steps per sample must be from 1 to 16",
            Field::Replay => "replay must be at least 1 and no more than the buffer holds",
            Field::Radius => "every radius must be at least 0, which freezes the parameter, and at most 2^32",
            Field::Taps => "the norm of a convolution must have at least one tap",
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Refusal::Length { expected, found } => {
                write!(f, "the sample has {found} numbers, but the network takes {expected}")
            }
            Refusal::NotFinite { index } => write!(f, "number {index} of the sample is not finite"),
            Refusal::Label { label, classes } => write!(f, "label {label} is not one of the {classes} classes"),
            Refusal::Target { expected, found } => {
                write!(f, "the target has {found} values, but the network has {expected} outputs")
            }
            Refusal::TargetNotFinite { index } => write!(f, "value {index} of the target is not finite"),
            Refusal::Overflow => f.write_str("the network overflows on this sample"),
            Refusal::Recipe(field) => write!(f, "{field}"),
            Refusal::NotStarted => f.write_str("the adaptation has not been started"),
            Refusal::Budget => f.write_str("the movement budget of this session is spent"),
            Refusal::Arithmetic => f.write_str(
                "this machine's arithmetic is not that of IEEE 754: it fuses, flushes or rounds differently",
            ),
            Refusal::Scratch { expected, found } => {
                write!(f, "the scratch memory holds {found} numbers, but {expected} are needed")
            }
            Refusal::Unrecorded => f.write_str(
                "the board's journal has no room for it, and the board does not learn what it cannot record",
            ),
        }
    }
}

impl core::error::Error for Refusal {}

/// Reason for refusing the bytes of an image or a snapshot.
///
/// The network that was to take them is unchanged, with one exception that [`restore`](crate::snapshot::restore)
/// describes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ImageError {
    /// The first bytes are not those of an image.
    Magic,
    /// The format version is not the one that this software reads.
    Version {
        /// The version that this software reads.
        expected: u16,
        /// The version of the image.
        found: u16,
    },
    /// The image is longer than the memory that holds it, or shorter than its own parts.
    Truncated,
    /// The checksum does not match the bytes.
    Checksum,
    /// The header cannot be decoded, or the parts do not fit together.
    Malformed,
    /// The image is for another network.
    Schema {
        /// Schema hash of the network that was to take the image.
        expected: u64,
        /// Schema hash of the image.
        found: u64,
    },
    /// A weight or the scale is NaN or infinite, or the scale is not positive. In a snapshot, also a momentum, movement
    /// or alignment state out of range, or a label that the network does not have.
    NotFinite,
    /// The recipe or a geometry in the image is refused.
    Recipe(Refusal),
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            ImageError::Magic => f.write_str("this is not a weights image (wrong first bytes)"),
            ImageError::Version { expected, found } => {
                write!(
                    f,
                    "its format has version {found}, but this software reads version {expected}: make it again, or use \
                     the software that made it"
                )
            }
            ImageError::Truncated => f.write_str("the image is cut short"),
            ImageError::Checksum => f.write_str("the image is damaged (wrong checksum)"),
            ImageError::Malformed => f.write_str("the image is malformed"),
            ImageError::Schema { expected, found } => {
                write!(f, "the image is for another network (schema {found:016x}, built for {expected:016x})")
            }
            ImageError::NotFinite => f.write_str("a weight or the scale of the image is not finite"),
            ImageError::Recipe(refusal) => write!(f, "the recipe of the image is refused: {refusal}"),
        }
    }
}

impl core::error::Error for ImageError {}
