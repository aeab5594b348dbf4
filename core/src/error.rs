//! Why something is refused. What is refused has changed nothing.

use core::fmt;

/// Why a sample, a step or a recipe was refused; nothing was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Refusal {
    /// The sample does not have as many numbers as the network has inputs.
    Length {
        /// Numbers that the network takes.
        expected: u32,
        /// Numbers that came.
        found: u32,
    },
    /// A number of the sample is NaN or infinite.
    NotFinite {
        /// Its index in the sample.
        index: u32,
    },
    /// The label is not a class of the network.
    Label {
        /// The label that came.
        label: u32,
        /// Classes of the network: labels run from 0 to `classes` − 1.
        classes: u32,
    },
    /// The target has another number of values than the network has outputs.
    Target {
        /// Outputs of the network.
        expected: u32,
        /// Values that came.
        found: u32,
    },
    /// A value of the target is NaN or infinite.
    TargetNotFinite {
        /// Its index in the target.
        index: u32,
    },
    /// Forward or backward overflows on this sample: the loss is not finite, or max|δ| or max|δ|·max|a| > 2^64 in a
    /// layer.
    Overflow,
    /// A number of the recipe is outside its range.
    Recipe(Field),
    /// The adaptation was not started.
    NotStarted,
    /// The next step could move a matrix further than the drift budget allows.
    Budget,
    /// This machine fuses, flushes or rounds otherwise than IEEE 754 says: see
    /// [`arithmetic::check`](crate::arithmetic::check).
    Arithmetic,
    /// The scratch memory is shorter than the network needs.
    Scratch {
        /// Numbers needed.
        expected: u32,
        /// Numbers given.
        found: u32,
    },
    /// The journal of what is learnt has no room for it, and nothing is to be learnt that is not recorded.
    Unrecorded,
}

/// A number of a recipe; its range is part of its message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Field {
    /// The step size η.
    Step,
    /// The strength λ of the pull.
    Pull,
    /// The weights to which the pull to the start pulls.
    Start,
    /// The cap of an output error.
    Cap,
    /// The momentum β.
    Momentum,
    /// The share θ of the transport.
    Theta,
    /// The memory b′ of the lag feedback.
    Memory,
    /// The damping q by alignment.
    Damping,
    /// p, r or N of the theory's schedule.
    Theory,
    /// The drift budget.
    Budget,
    /// Which samples a session holds out.
    HoldOut,
    /// Samples a step.
    Batch,
    /// Steps a sample.
    Steps,
    /// Samples that the replay buffer keeps.
    Replay,
    /// A radius ρ of a parameter.
    Radius,
    /// The taps of a convolution's norm.
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
                "momentum must be in [0, 1), the exponent of a power in (0, 1], a ramp at least one step"
            }
            Field::Theta => "theta must be in [0, 1]",
            Field::Memory => "the memory of the lag feedback must be at least 0 and below every momentum",
            Field::Damping => "the damping by alignment must be at least 0 and finite",
            Field::Theory => {
                "the theory's schedule needs p in (1, 2], a rank of at least 1, and no fewer samples than that"
            }
            Field::Budget => "a drift budget must be > 0",
            Field::HoldOut => {
                "hold-out: EVERY must be at least 2, KEEP at least 1 and at most what the memory for held-out samples holds"
            }
            Field::Batch => "batch must be from 1 to 65536",
            Field::Steps => "steps a sample must be from 1 to 16",
            Field::Replay => "replay must be at least 1 and no more than the buffer holds",
            Field::Radius => "every radius must be at least 0, which freezes, and at most 2^32",
            Field::Taps => "the norm of a convolution must have at least one tap",
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Refusal::Length { expected, found } => {
                write!(f, "the sample has {found} numbers, the network takes {expected}")
            }
            Refusal::NotFinite { index } => write!(f, "number {index} of the sample is not finite"),
            Refusal::Label { label, classes } => write!(f, "label {label} is not one of the {classes} classes"),
            Refusal::Target { expected, found } => {
                write!(f, "the target has {found} values, the network has {expected} outputs")
            }
            Refusal::TargetNotFinite { index } => write!(f, "value {index} of the target is not finite"),
            Refusal::Overflow => f.write_str("the network overflows on this sample"),
            Refusal::Recipe(field) => write!(f, "{field}"),
            Refusal::NotStarted => f.write_str("the adaptation was not started"),
            Refusal::Budget => f.write_str("the drift budget of this session is spent"),
            Refusal::Arithmetic => {
                f.write_str("this machine's arithmetic is not the one that is promised: it fuses or flushes")
            }
            Refusal::Scratch { expected, found } => {
                write!(f, "scratch memory of {found} numbers, {expected} are needed")
            }
            Refusal::Unrecorded => {
                f.write_str("the board's journal has no room for it, and the board learns nothing that is not recorded")
            }
        }
    }
}

impl core::error::Error for Refusal {}

/// Why the bytes of an image are refused; the network that was to take it is unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ImageError {
    /// The first bytes are not those of an image.
    Magic,
    /// The image has another version than this software reads.
    Version {
        /// The version that this software reads.
        expected: u16,
        /// The version of the image.
        found: u16,
    },
    /// The image is longer than the memory that holds it, or shorter than its own parts.
    Truncated,
    /// The checksum does not agree with the bytes.
    Checksum,
    /// The header cannot be decoded, or the parts do not fit together.
    Malformed,
    /// The image is for another network.
    Schema {
        /// Schema hash of the network that was to take it.
        expected: u64,
        /// Schema hash of the image.
        found: u64,
    },
    /// A weight or the scale is NaN or infinite, or the scale is not positive.
    NotFinite,
    /// The recipe in the image is refused.
    Recipe(Refusal),
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            ImageError::Magic => f.write_str("this is no weights image (wrong first bytes)"),
            ImageError::Version { expected, found } => {
                write!(
                    f,
                    "its format has version {found}, this software reads version {expected}: make it again, or take \
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
