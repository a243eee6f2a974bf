//! Why nothing was measured.

use std::path::PathBuf;

use kappa_data::DataError;
use kappa_fused::DeviceError;
use kappa_hessian::HessianError;
use kappa_model::LoneSample;
use kappa_run::{RunError, shown};
use kappa_trainer::{CheckpointError, TrainError};

/// A measurement failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// Some of the processes would have no images.
    #[error(
        "{images} images, {together} of them at least to a process, are too few for {processes} processes: begin \
         fewer"
    )]
    TooFewImages {
        /// How many there are.
        images: usize,
        /// Images that a process has together.
        together: usize,
        /// How many there are.
        processes: usize,
    },
    /// The Hessian could not be computed.
    #[error(transparent)]
    Hessian(#[from] HessianError),
    /// Another process cannot be reached.
    #[error(transparent)]
    World(#[from] kappa_world::WorldError),
    /// A run could not be read.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A checkpoint could not be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Images could not be split as a configuration says.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// Images could not be split.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The network and the images do not fit.
    #[error("the network takes {network} inputs, and the images have {images} pixels")]
    OtherImages {
        /// Inputs of the network.
        network: usize,
        /// Pixels an image.
        images: usize,
    },
    /// The images are not those that the run was trained on.
    #[error(
        "{} was trained on other data than was found now: {file} has another checksum",
        shown(checkpoint)
    )]
    OtherData {
        /// The checkpoint.
        checkpoint: PathBuf,
        /// The file that differs.
        file: String,
    },
    /// The device cannot compute in double precision.
    #[error("this device has no double precision")]
    NoDoublePrecision,
    /// A mini-batch of a single sample is to be normalised by its own statistics.
    #[error(transparent)]
    LoneSample(#[from] LoneSample),
    /// A checkpoint's batch norm was trained without keeping any.
    #[error("batch norm has no running statistics in this checkpoint")]
    NoRunningStatistics,
    /// Normalising by the statistics of mini-batches is another map for each of them.
    #[error("by the statistics of mini-batches batch norm is not one affine map, and cannot be folded")]
    NotAffine,
    /// Images that belong to no run are not split into training and validation.
    #[error("a checkpoint that belongs to no run has no validation split")]
    NoValidationSplit,
    /// How large mini-batches are is not known.
    #[error("a checkpoint that belongs to no run does not say how large its mini-batches were")]
    NoBatchSize,
    /// Other epochs are those of a run.
    #[error("there are no other epochs of what is no checkpoint of a run")]
    NoOtherEpochs,
    /// H does not fit into what is free.
    #[error(
        "H of {classes} classes x {features} features needs {matrix:.0} GB, {needed:.0} GB with its eigenvectors, \
         and {free:.1} GB are free; with {classes} classes {largest} features would fit"
    )]
    NoMemory {
        /// Features m.
        features: usize,
        /// Classes K.
        classes: usize,
        /// Gigabytes of H.
        matrix: f64,
        /// Gigabytes of all that it takes.
        needed: f64,
        /// Gigabytes that are free.
        free: f64,
        /// The most features that would fit.
        largest: usize,
    },
    /// What was to be kept beside the spectrum does not fit into what is free.
    #[error("features and probabilities of {samples} samples need {needed:.1} GB, and {free:.1} GB are free")]
    NoMemoryToKeep {
        /// Samples N.
        samples: usize,
        /// Gigabytes that keeping them takes.
        needed: f64,
        /// Gigabytes that are free.
        free: f64,
    },
    /// What a network's products keep of all samples does not fit into what is free.
    #[error("what the layers hand on for {samples} samples needs {needed:.1} GB, and {free:.1} GB are free")]
    NoMemoryForNetwork {
        /// Samples N.
        samples: usize,
        /// Gigabytes of it.
        needed: f64,
        /// Gigabytes that are free.
        free: f64,
    },
    /// A name that is none of a trained parameter.
    #[error("the network has no parameter {name:?}; it has {}", existing.join(", "))]
    UnknownParameter {
        /// The name.
        name: String,
        /// The names that there are.
        existing: Vec<String>,
    },
    /// A Krylov space does not fit into what is free.
    #[error("{count} directions of {size} numbers need {needed:.1} GB, and {free:.1} GB are free")]
    NoMemoryForDirections {
        /// Directions.
        count: usize,
        /// Numbers of each.
        size: usize,
        /// Gigabytes of them.
        needed: f64,
        /// Gigabytes that are free.
        free: f64,
    },
    /// There is no convex problem without what it is about.
    #[error("no {0} are given, and a posterior is about them")]
    Missing(&'static str),
    /// Weights make logits; probabilities alone do not say which.
    #[error("a posterior needs logits, finite ones, and {0}")]
    NoLogits(&'static str),
    /// The marginal likelihood has no top.
    #[error(
        "no precision of the prior makes the marginal likelihood largest: it rises without end as the prior narrows \
         to weights of zero, since the features say next to nothing of the labels"
    )]
    NoBestDelta,
    /// Choosing the prior's precision and going to its optimum, in turn, came to no end.
    #[error("the prior's precision and the optimum have not settled in {0} rounds")]
    NotSettled(usize),
    /// Posteriors are of one process's samples.
    #[error("of samples that several processes share there is no posterior")]
    Shared,
}
