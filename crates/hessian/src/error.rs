//! What can go wrong between features and spectrum.

use crate::DeviceError;

/// A Hessian could not be built or decomposed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HessianError {
    /// There is nothing to differentiate.
    #[error("a Hessian needs at least 1 feature and 1 class, and there are {features} and {classes}")]
    TooSmall {
        /// The number of features m.
        features: usize,
        /// The number of classes K.
        classes: usize,
    },
    /// The matrix does not fit into memory.
    #[error(
        "the Hessian of {classes} classes x {features} features is a matrix of {size} x {size}, \
         and {gigabytes:.1} GB could not be allocated for it"
    )]
    TooLarge {
        /// The number of features m.
        features: usize,
        /// The number of classes K.
        classes: usize,
        /// K m.
        size: usize,
        /// What was asked for.
        gigabytes: f64,
    },
    /// One block of the matrix is more than a GPU can be counted on to bind.
    #[error(
        "{features} features make blocks of {megabytes} MB in f32, and a GPU can be counted on to bind 128 MiB"
    )]
    BlockTooLarge {
        /// The number of features m.
        features: usize,
        /// The size of an m x m block.
        megabytes: usize,
    },
    /// Features and probabilities do not belong together, or to this Hessian.
    #[error(
        "features are {features:?} and probabilities {probabilities:?}; expected [N, {m}] and [N, {k}] with the same N"
    )]
    WrongShape {
        /// The shape of the features.
        features: [usize; 2],
        /// The shape of the probabilities.
        probabilities: [usize; 2],
        /// The expected number of features.
        m: usize,
        /// The expected number of classes.
        k: usize,
    },
    /// Weights are not of this layer.
    #[error(
        "{found} weights and {offsets} biases are given, of a layer of {size} weights and {classes} classes"
    )]
    WrongWeights {
        /// Weights that were given.
        found: usize,
        /// K m.
        size: usize,
        /// Biases that were given.
        offsets: usize,
        /// K.
        classes: usize,
    },
    /// A source of samples made another number of them than it was to.
    #[error("there were to be {promised} samples, and their source made {found}")]
    WrongCount {
        /// How many it made, or more if it was stopped then.
        found: usize,
        /// How many there were to be.
        promised: usize,
    },
    /// Another process could not be reached.
    #[error(transparent)]
    World(#[from] kappa_world::WorldError),
    /// A source of samples could not make them.
    #[error(transparent)]
    Source(Box<dyn std::error::Error + Send + Sync>),
    /// Features and probabilities differ in type, or have one that is not computed in.
    #[error("features are {features} and probabilities {probabilities}; both must be f32, or both f64")]
    WrongType {
        /// The element type of the features.
        features: String,
        /// The element type of the probabilities.
        probabilities: String,
    },
    /// Slices are not the rows of as many samples.
    #[error(
        "{features} numbers for features and {scores} for classes are not rows of {m} and of {k} for the same \
         number of samples"
    )]
    WrongLength {
        /// The number of the features' elements.
        features: usize,
        /// The number of the probabilities' or logits' elements.
        scores: usize,
        /// The expected number of features.
        m: usize,
        /// The expected number of classes.
        k: usize,
    },
    /// A block of vectors does not belong to the operator.
    #[error("the vectors have {found} elements, and the operator {expected} rows")]
    WrongRows {
        /// The number of rows of the block.
        found: usize,
        /// The size of the operator.
        expected: usize,
    },
    /// Sums over class pairs are of other features or classes.
    #[error("sums of {features:?} features and {classes:?} classes cannot be added")]
    OtherSums {
        /// The number of features m of either.
        features: [usize; 2],
        /// The number of classes K of either.
        classes: [usize; 2],
    },
    /// A matrix from elsewhere has another number of elements.
    #[error("{found} elements are no matrix of {size} x {size}")]
    WrongSize {
        /// The number of elements.
        found: usize,
        /// K m.
        size: usize,
    },
    /// No sample was added.
    #[error("the Hessian is a mean over samples, and there are none")]
    NoSamples,
    /// A map of the features has another number of them.
    #[error("the feature map has {found:?} shifts and scales, and there are {expected} features")]
    WrongMap {
        /// The number of shifts and of scales.
        found: [usize; 2],
        /// The number of features m, without the constant one.
        expected: usize,
    },
    /// A sum is not a number.
    #[error(
        "the Hessian holds a {value} at class {class}, feature {feature}: the features or the probabilities are not \
         finite"
    )]
    NotFinite {
        /// NaN or an infinity.
        value: f64,
        /// The class of the row.
        class: usize,
        /// The feature of the row.
        feature: usize,
    },
    /// The Hessian is so large or so small that its arithmetic has lost digits.
    #[error(
        "the Hessian's largest element is {largest:e}, and its sums keep their digits from {from:e} to {to:e}: features \
         c times as large have one c^2 times as large"
    )]
    OutOfRange {
        /// The largest |H_ij|.
        largest: f64,
        /// The smallest that is taken.
        from: f64,
        /// The largest that is taken.
        to: f64,
    },
    /// A product with an operator is not finite.
    #[error("a product with the Hessian is not finite: what it is made of is not")]
    NotFiniteProduct,
    /// There is no memory for the directions that a Krylov space needs.
    #[error("{gigabytes:.1} GB could not be allocated for a Krylov space")]
    NoMemory {
        /// What was asked for.
        gigabytes: f64,
    },
    /// Labels do not belong to the samples.
    #[error(
        "there are {labels} labels up to {largest} for {samples} samples and {classes} classes (0 is the first)"
    )]
    WrongLabels {
        /// The number of labels.
        labels: usize,
        /// The largest label.
        largest: usize,
        /// The number of samples N.
        samples: usize,
        /// The number of classes K.
        classes: usize,
    },
    /// A preconditioner does not belong to the Hessian.
    #[error("the preconditioner has {found} elements; expected {expected}, all of them positive")]
    WrongPreconditioner {
        /// The number of its elements.
        found: usize,
        /// K m.
        expected: usize,
    },
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The eigensolver did not converge.
    #[error("faer's eigensolver did not converge on this {size} x {size} matrix")]
    NoConvergence {
        /// The size of the matrix.
        size: usize,
    },
    /// [`crate::Progress`] said so.
    #[error("stopped")]
    Stopped,
}
