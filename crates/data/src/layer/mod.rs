//! The last layer of any network, from arrays that were saved elsewhere.
//!
//! ```text
//! features [N, m]    the last layer's inputs, a row for each of N samples
//! logits   [N, K]    its outputs, or `probabilities`, their softmax
//! weights  [K, m]    the layer itself, as PyTorch lays it out     (optional)
//! labels   [N]       the samples' classes, 0 to K - 1             (optional)
//! ```
//!
//! They come as .npy files, or as tensors of those names in one .safetensors file.
//! The Hessian is exact for whatever is given, so all of it is checked, to the last
//! element: a mistake would otherwise be a wrong spectrum and no error.

mod array;
mod error;
mod matrix;
mod npy;
mod tensors;

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

pub use error::LayerError;
pub use matrix::{Elements, Matrix};

use crate::{FileDigest, idx::hexadecimal};
use array::{Array, Place, Role};
use matrix::{NotDistributions, Stray};
use tensors::Bundle;

/// The files that a last layer is read from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LastLayerFiles {
    /// An .npy file of features, or a .safetensors file of all arrays (told by its name's end).
    pub features: PathBuf,
    /// An .npy file of logits, in place of what a .safetensors file holds.
    pub logits: Option<PathBuf>,
    /// An .npy file of probabilities, in place of what a .safetensors file holds.
    pub probabilities: Option<PathBuf>,
    /// An .npy file of weights, in place of what a .safetensors file holds.
    pub weights: Option<PathBuf>,
    /// An .npy file of labels, in place of what a .safetensors file holds.
    pub labels: Option<PathBuf>,
    /// Whether logits are taken for logits though every row of them is a distribution.
    pub logits_are_meant: bool,
}

/// What a network's last layer gets and makes of N samples: N >= 1 of them, with
/// m >= 1 features and K >= 2 classes, every number finite.
#[derive(Debug, Clone, PartialEq)]
pub struct LastLayer {
    /// The features, [N, m].
    pub features: Matrix,
    /// The logits or probabilities, [N, K].
    pub scores: Scores,
    /// The weights, [K, m].
    pub weights: Option<Matrix>,
    /// The N labels, each below K.
    pub labels: Option<Vec<usize>>,
    /// The files that were read, with their checksums.
    pub files: Vec<FileDigest>,
}

/// What a network says about each class.
#[derive(Debug, Clone, PartialEq)]
pub enum Scores {
    /// Before the softmax.
    Logits(Matrix),
    /// After the softmax: from 0 to 1, each row divided by its sum, so that the sum is 1.
    Probabilities(Matrix),
}

impl Scores {
    /// The matrix, [N, K], of either kind.
    pub fn matrix(&self) -> &Matrix {
        match self {
            Self::Logits(matrix) | Self::Probabilities(matrix) => matrix,
        }
    }
}

impl LastLayer {
    /// Reads the files, and checks that they are of one layer and the same samples.
    ///
    /// Probabilities whose rows sum to 1 within 1e-3 are divided by that sum, as the
    /// Hessian's formula holds for rows that sum to 1. Logits that would all pass for such
    /// rows are refused, unless they are said to be meant: the softmax of a softmax gives a
    /// Hessian that passes every check, and is not the network's.
    ///
    /// # Errors
    ///
    /// [`LayerError`] names the file, the place in it and what to do.
    pub fn from_files(files: &LastLayerFiles) -> Result<Self, LayerError> {
        let is_bundle = files.features.extension().is_some_and(|end| end.eq_ignore_ascii_case("safetensors"));
        let bundled = if is_bundle { Some(File::read(&files.features)?) } else { None };
        let bundle = bundled.as_ref().map(|file| Bundle::new(&file.name, &file.bytes)).transpose()?;
        let score_role = choose_scores(files, bundle.as_ref())?;
        let mut inputs = Inputs { bundle, digests: Vec::new() };
        inputs.digests.extend(bundled.as_ref().map(|file| file.digest.clone()));

        let features_file = if is_bundle { None } else { Some(&files.features) };
        let scores_file = if score_role == Role::Logits { &files.logits } else { &files.probabilities };
        let mut matrix = |role, path| -> Result<_, LayerError> {
            inputs.optional(role, path, |array| array.matrix())?.ok_or_else(|| missing(files, role))
        };
        let features = matrix(Role::Features, features_file)?;
        let scores = matrix(score_role, scores_file.as_ref())?;
        same_samples(&features, &scores.place, scores.value.rows)?;
        let classes = scores.value.columns;
        let scores = match score_role {
            Role::Logits if scores.value.has_distributions() && !files.logits_are_meant => {
                return Err(LayerError::ProbabilitiesAsLogits { array: scores.place.to_string() });
            }
            Role::Logits => Scores::Logits(scores.value),
            _ => Scores::Probabilities(distributions(scores)?),
        };

        let weights = inputs
            .optional(Role::Weights, files.weights.as_ref(), |array| array.matrix())?
            .map(|weights| check_weights(weights, [classes, features.value.columns]))
            .transpose()?;
        let labels = inputs
            .optional(Role::Labels, files.labels.as_ref(), |array| array.labels())?
            .map(|labels| {
                same_samples(&features, &labels.place, labels.value.len())?;
                classes_of(&labels, classes)
            })
            .transpose()?;
        Ok(Self { features: features.value, scores, weights, labels, files: inputs.digests })
    }
}

/// A file in memory.
struct File {
    name: String,
    bytes: Vec<u8>,
    digest: FileDigest,
}

impl File {
    fn read(path: &Path) -> Result<Self, LayerError> {
        let name = path.display().to_string();
        let bytes =
            std::fs::read(path).map_err(|source| LayerError::Unreadable { file: name.clone(), source })?;
        let file = path.file_name().map_or_else(|| name.clone(), |file| file.to_string_lossy().into_owned());
        let digest = FileDigest { file, sha256: hexadecimal(&Sha256::digest(&bytes)) };
        Ok(Self { name, bytes, digest })
    }
}

/// What was read, and from where.
struct Named<T> {
    place: Place,
    value: T,
}

/// Where arrays come from: a file each, or the bundle.
struct Inputs<'a> {
    bundle: Option<Bundle<'a>>,
    digests: Vec<FileDigest>,
}

impl Inputs<'_> {
    /// Reads the array for `role` from its own file if there is one, else from the bundle.
    fn optional<T>(
        &mut self,
        role: Role,
        path: Option<&PathBuf>,
        decode: impl FnOnce(&Array<'_>) -> Result<T, LayerError>,
    ) -> Result<Option<Named<T>>, LayerError> {
        let named = |array: &Array<'_>| Ok(Named { place: array.place().clone(), value: decode(array)? });
        if let Some(path) = path {
            let file = File::read(path)?;
            let array = npy::read(Place { role, file: file.name }, &file.bytes)?;
            self.digests.push(file.digest);
            return named(&array).map(Some);
        }
        let array = self.bundle.as_ref().map(|bundle| bundle.array(role)).transpose()?.flatten();
        array.as_ref().map(named).transpose()
    }
}

fn missing(files: &LastLayerFiles, role: Role) -> LayerError {
    let problem = format!("holds no tensor `{}`", role.name());
    LayerError::Tensors { file: files.features.display().to_string(), problem }
}

/// Whether it is logits or probabilities that are read. What has a file of its own
/// is meant, whatever the bundle holds.
fn choose_scores(files: &LastLayerFiles, bundle: Option<&Bundle<'_>>) -> Result<Role, LayerError> {
    let file = || files.features.display().to_string();
    let bundled = |role| bundle.is_some_and(|bundle| bundle.has(role));
    let mut found = (files.logits.is_some(), files.probabilities.is_some());
    if found == (false, false) {
        found = (bundled(Role::Logits), bundled(Role::Probabilities));
    }
    match found {
        (true, false) => Ok(Role::Logits),
        (false, true) => Ok(Role::Probabilities),
        (true, true) => Err(LayerError::TwoScores { file: file() }),
        (false, false) => Err(LayerError::NoScores { file: file() }),
    }
}

fn same_samples(features: &Named<Matrix>, place: &Place, found: usize) -> Result<(), LayerError> {
    if found == features.value.rows {
        return Ok(());
    }
    Err(LayerError::SampleCount {
        array: place.to_string(),
        found,
        features: features.place.to_string(),
        expected: features.value.rows,
    })
}

fn distributions(scores: Named<Matrix>) -> Result<Matrix, LayerError> {
    let Named { place, value: mut matrix } = scores;
    let array = place.to_string();
    match matrix.normalise_rows() {
        Ok(()) => Ok(matrix),
        Err(NotDistributions::Element(Stray { row, column, value })) => {
            Err(LayerError::NotAProbability { array, row, column, value })
        }
        Err(NotDistributions::RowSum { row, sum }) => Err(LayerError::RowSum { array, row, sum }),
    }
}

fn check_weights(weights: Named<Matrix>, expected: [usize; 2]) -> Result<Matrix, LayerError> {
    let found = [weights.value.rows, weights.value.columns];
    let array = weights.place.to_string();
    if found == expected {
        Ok(weights.value)
    } else if [found[1], found[0]] == expected {
        Err(LayerError::TransposedWeights { array, found })
    } else {
        Err(LayerError::WeightsShape { array, found, expected })
    }
}

fn classes_of(labels: &Named<Vec<i128>>, classes: usize) -> Result<Vec<usize>, LayerError> {
    let class =
        |(sample, &label): (usize, &i128)| {
            usize::try_from(label).ok().filter(|&class| class < classes).ok_or_else(|| {
                LayerError::LabelRange { array: labels.place.to_string(), sample, label, classes }
            })
        };
    labels.value.iter().enumerate().map(class).collect()
}
