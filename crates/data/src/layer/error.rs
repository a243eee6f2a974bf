//! What can be wrong with a last layer's arrays, and what to do about it.

use std::io;

/// A last layer could not be read from its files. Rows, columns and samples are
/// counted from 0, over all dimensions of samples as `x.reshape(-1, x.shape[-1])` has them; an `array` is named with its file, as in "logits in Z.npy".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// A file could not be read.
    #[error("cannot read {file}")]
    Unreadable {
        /// The file.
        file: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// Files that are no parts of one array.
    #[error("{pattern} {problem}")]
    Parts {
        /// The pattern that they match.
        pattern: String,
        /// What is wrong with them.
        problem: String,
    },
    /// A file is not in its format, or is cut or too long.
    #[error("{file} is not usable: {problem}")]
    Malformed {
        /// The file.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file of named tensors has no features, or has a tensor without a meaning here.
    #[error(
        "{file} {problem}; expected are `features` [N, m], `logits` or `probabilities` [N, K], \
         and, if you like, `weights` [K, m] and `labels` [N]"
    )]
    Tensors {
        /// The file.
        file: String,
        /// Which tensor is missing or unknown.
        problem: String,
    },
    /// Neither logits nor probabilities.
    #[error(
        "there are features in {file}, and no logits or probabilities to go with them: \
         give logits or probabilities [N, K] beside them, or by that name in the same .safetensors or .npz file"
    )]
    NoScores {
        /// The file with the features.
        file: String,
    },
    /// Both logits and probabilities.
    #[error(
        "both logits and probabilities come with the features in {file}: leave one out \
         (keep the logits, they have more digits)"
    )]
    TwoScores {
        /// The file with the features.
        file: String,
    },
    /// Elements of a type that is not read.
    #[error("{array} have elements of type {found}, and {expected} are read: {remedy}")]
    ElementType {
        /// The array.
        array: String,
        /// Its type, as the file spells it.
        found: String,
        /// The types that are read.
        expected: &'static str,
        /// How to save the array otherwise.
        remedy: &'static str,
    },
    /// The wrong number of dimensions.
    #[error("{array} have shape {found:?}, and {expected} is read: {remedy}")]
    Dimensions {
        /// The array.
        array: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape that is read, by its letters.
        expected: &'static str,
        /// How to save the array otherwise.
        remedy: &'static str,
    },
    /// No samples, or no features.
    #[error("{array} are empty: their shape is {found:?}, and all of it has to be 1 or more")]
    Empty {
        /// The array.
        array: String,
        /// Its shape.
        found: Vec<usize>,
    },
    /// An array is for other samples than the features.
    #[error(
        "{array} are for {} samples, and {features} for {}: entry n of both is to be of sample n, samples along \
         all dimensions but the last one (of a transposed array save `x.T`, of features with several \
         dimensions `x.reshape(len(x), -1)`)",
        by(found),
        by(expected)
    )]
    SampleCount {
        /// The array.
        array: String,
        /// Its dimensions of samples.
        found: Vec<usize>,
        /// The features.
        features: String,
        /// Their dimensions of samples.
        expected: Vec<usize>,
    },
    /// What has to be in memory at once is larger than what may be taken.
    #[error("{array} need {} of memory at once, and {} may be taken: {remedy}", bytes(*needed), bytes(*allowed))]
    NoMemory {
        /// The array, or the file.
        array: String,
        /// Bytes that it takes.
        needed: u64,
        /// Bytes that are left of what was allowed.
        allowed: u64,
        /// Why it has to be so, or what is another way.
        remedy: &'static str,
    },
    /// An infinity or not a number.
    #[error(
        "{array} hold {value} in row {row}, column {column}: every element has to be finite \
         (a logit may be -inf; find them with `np.argwhere(~np.isfinite(x))`)"
    )]
    NotFinite {
        /// The array.
        array: String,
        /// Where the first one is.
        row: usize,
        /// Where the first one is.
        column: usize,
        /// What it is.
        value: f64,
    },
    /// A row of logits of which none is finite.
    #[error("{array} hold nothing but -inf in row {row}: no class would have a probability")]
    NoClass {
        /// The array.
        array: String,
        /// The first such row.
        row: usize,
    },
    /// A probability below 0 or above 1.
    #[error(
        "{array} hold {value} in row {row}, column {column}, and a probability lies between 0 and 1: \
         are these logits? Then give them as such"
    )]
    NotAProbability {
        /// The array.
        array: String,
        /// Where the first one is.
        row: usize,
        /// Where the first one is.
        column: usize,
        /// What it is.
        value: f64,
    },
    /// What should be logits is one distribution a row.
    #[error(
        "every row of {array} lies between 0 and 1 and sums to 1: these are probabilities, and their softmax \
         would be that of another network"
    )]
    ProbabilitiesAsLogits {
        /// The array.
        array: String,
    },
    /// A row of probabilities that do not add up to 1.
    #[error(
        "row {row} of {array} sums to {sum}, and the probabilities of a sample sum to 1 (within 1e-3): \
         save the softmax over all classes, along axis 1"
    )]
    RowSum {
        /// The array.
        array: String,
        /// The first such row.
        row: usize,
        /// Its sum.
        sum: f64,
    },
    /// Weights in the layout [m, K].
    #[error("{array} have shape {found:?}, which is [m, K], and [K, m] is read: save the transpose, `W.T`")]
    TransposedWeights {
        /// The array.
        array: String,
        /// Its shape.
        found: [usize; 2],
    },
    /// Weights of another layer.
    #[error(
        "{array} have shape {found:?}, and [K, m] is {expected:?} by the scores' columns and the features': \
         are they of another layer?"
    )]
    WeightsShape {
        /// The array.
        array: String,
        /// Its shape.
        found: [usize; 2],
        /// The number of classes and of features.
        expected: [usize; 2],
    },
    /// Other samples have other features than the layer gets.
    #[error(
        "{array} have {found} features a sample, and the layer gets {expected}: are they of another layer?"
    )]
    OtherFeatures {
        /// The array.
        array: String,
        /// What it has.
        found: usize,
        /// m.
        expected: usize,
    },
    /// A label that is no class.
    #[error("{array} hold {label} for sample {sample}, and with {classes} classes they run from 0 to {}", classes - 1)]
    LabelRange {
        /// The array.
        array: String,
        /// The first sample with such a label.
        sample: usize,
        /// Its label.
        label: i128,
        /// The number of classes.
        classes: usize,
    },
    /// A label on a class that has no probability at all.
    #[error(
        "{array} say {label} for sample {sample}, and {logits} hold -inf for it: a class without a probability \
         has an infinite loss"
    )]
    ImpossibleLabel {
        /// The labels.
        array: String,
        /// The first sample with such a label.
        sample: usize,
        /// Its label.
        label: usize,
        /// The logits.
        logits: String,
    },
    /// Every sample has the label that leaves it out.
    #[error("{array} are {label} for every one of {samples} samples, which leaves them all out")]
    AllIgnored {
        /// The array.
        array: String,
        /// The number of samples.
        samples: usize,
        /// The label.
        label: i64,
    },
}

/// "2 x 5", of dimensions.
fn by(dimensions: &[usize]) -> String {
    dimensions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" x ")
}

/// A number of bytes as it is said.
fn bytes(count: u64) -> String {
    match count {
        0..1_000_000 => format!("{count} bytes"),
        1_000_000..1_000_000_000 => format!("{:.0} MB", count as f64 / 1e6),
        _ => format!("{:.1} GB", count as f64 / 1e9),
    }
}
