//! The last layer of any network, from arrays that were saved elsewhere.
//!
//! ```text
//! features [N, m]    the last layer's inputs, a row for each of N samples
//! logits   [N, K]    its outputs, or `probabilities`, their softmax; [N] or [N, 1] for a sigmoid
//! weights  [K, m]    the layer itself, as PyTorch lays it out     (optional)
//! labels   [N]       the samples' classes, 0 to K - 1             (optional)
//! ```
//!
//! In the place of N any number of dimensions is of samples, [B, T] say, the same of all arrays. They
//! come as .npy files, or by those names in one .safetensors or .npz file. The Hessian is exact
//! for whatever is given, so all of it is checked, to the last element: a mistake would
//! otherwise be a wrong spectrum and no error.
//!
//! ```text
//! source    a file's bytes, in pieces; nothing is read that is not asked for
//! npy, tensors, npz, bundle    headers: shapes, types, and where the elements lie
//! parts     files that are parts of one array
//! host      arrays that somebody else holds in memory
//! others    samples that a layer was not fitted to
//! array     what an array is, and whether its shape fits the others'
//! table     from bytes to numbers, some rows at a time
//! rows      a matrix in memory, or in its file where it is larger than may be taken
//! ```

mod array;
mod bundle;
mod error;
mod host;
mod labels;
mod matrix;
mod memory;
mod npy;
mod npz;
mod others;
mod parts;
mod rows;
mod source;
mod table;
mod tensors;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use kappa_world::{World, share_of};

pub use error::LayerError;
pub use host::{HostArray, HostArrays};
pub use matrix::{Elements, Matrix};
pub use others::OtherSamples;
pub use rows::Rows;

use crate::FileDigest;
use array::{Array, Place, Role};
use bundle::Bundle;
use labels::Labels;
use memory::Budget;
use rows::{Rule, Stored};
use source::Source;
use table::Table;

/// The label that leaves a sample out if no other is named: PyTorch's `ignore_index`.
pub const IGNORE_INDEX: i64 = -100;

/// Arrays in memory up to this size are read once, which saves reading them again.
const SMALL_BYTES: u64 = 64 << 20;

/// The files that a last layer is read from. Each but the weights' may be several, parts of one array or of one
/// file of all arrays: a name with a `*` stands for those with a number there, in the order of their numbers.
#[derive(Debug, Clone)]
pub struct LastLayerFiles {
    /// An .npy file of features, or a .safetensors or .npz file of all arrays (told by its name's end).
    pub features: PathBuf,
    /// An .npy file of logits, in place of what a file of all arrays holds.
    pub logits: Option<PathBuf>,
    /// An .npy file of probabilities, likewise.
    pub probabilities: Option<PathBuf>,
    /// An .npy file of weights, likewise.
    pub weights: Option<PathBuf>,
    /// An .npy file of labels, likewise.
    pub labels: Option<PathBuf>,
    /// Whether logits are taken for logits though every row of them is a distribution.
    pub logits_are_meant: bool,
    /// Samples with this label are left out.
    pub ignore_index: i64,
    /// Where several processes share the samples: the world of that whose own are read, and how many samples are
    /// shared at the most.
    pub share: Option<(Arc<dyn World>, usize)>,
}

impl Default for LastLayerFiles {
    fn default() -> Self {
        Self {
            features: PathBuf::new(),
            logits: None,
            probabilities: None,
            weights: None,
            labels: None,
            logits_are_meant: false,
            ignore_index: IGNORE_INDEX,
            share: None,
        }
    }
}

/// What a network's last layer gets and makes of N samples, or of a process's own of them: N >= 1, with
/// m >= 1 features and K >= 2 classes, or one score for both of two classes. Every
/// number is finite, but that a logit may be -inf.
#[derive(Debug, Clone)]
pub struct LastLayer {
    /// Samples before those of `features` and `scores`, and how many there are in all: N. Of one process 0 and
    /// all.
    pub place: (usize, usize),
    /// The features, [N, m].
    pub features: Rows,
    /// The logits or probabilities, [N, K].
    pub scores: Scores,
    /// The weights, [K, m].
    pub weights: Option<Matrix>,
    /// The N labels, each below K; below 2 of a single score.
    pub labels: Option<Vec<usize>>,
    /// Which samples are not among the N; known where there are labels.
    pub ignored: Option<Ignored>,
    /// The files that were read, with their checksums.
    pub files: Vec<FileDigest>,
    /// Whether every row of these logits is a distribution, so that they are none if it is so of all processes.
    pub logits_are_distributions: bool,
    /// Whether arrays that are not held here are read again from files, and not from somebody's memory.
    pub is_read_again: bool,
}

/// Samples that are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ignored {
    /// By this label.
    pub label: i64,
    /// So many have it.
    pub samples: usize,
}

/// What a network says about each class: a column each, or a single one where a sigmoid stands
/// in the place of the softmax, for the second of two classes.
#[derive(Debug, Clone)]
pub enum Scores {
    /// Before the softmax. -inf is a probability of zero, and no row is nothing else.
    Logits(Rows),
    /// After the softmax: from 0 to 1, each row divided by its sum, so that the sum is 1.
    /// After a sigmoid as they are.
    Probabilities(Rows),
}

impl Scores {
    /// The matrix, [N, K], of either kind.
    pub fn rows(&self) -> &Rows {
        match self {
            Self::Logits(rows) | Self::Probabilities(rows) => rows,
        }
    }

    /// Whether there is one score a sample: of a sigmoid, and no softmax.
    pub fn are_of_a_sigmoid(&self) -> bool {
        self.rows().columns() == 1
    }
}

impl LastLayer {
    /// Reads the files, and checks that they are of one layer and the same samples.
    ///
    /// Of each file its header is read first. Features and scores that fit into `memory_budget_bytes`
    /// are read into memory, else they stay in their files and go through the checks in parts:
    /// their [`Rows`] read them again. What has to be in memory and does not fit is refused.
    ///
    /// Probabilities whose rows sum to 1 within 1e-3 are divided by that sum, as the
    /// Hessian's formula holds for rows that sum to 1. Logits that would all pass for such
    /// rows are refused, unless they are said to be meant: the softmax of a softmax gives a
    /// Hessian that passes every check, and is not the network's.
    ///
    /// # Errors
    ///
    /// [`LayerError`] names the file, the place in it and what to do.
    pub fn from_files(files: &LastLayerFiles, memory_budget_bytes: u64) -> Result<Self, LayerError> {
        let mut budget = Budget::new(memory_budget_bytes);
        let mut inputs = Inputs::open(&files.features, &mut budget)?;
        let asked = Asked {
            file: files.features.display().to_string(),
            scores: choose_scores(files, &inputs.bundles)?,
            logits_are_meant: files.logits_are_meant,
            ignore_index: files.ignore_index,
            share: files.share.clone(),
            most_in_memory: u64::MAX,
        };
        let is_bundled = !inputs.bundles.is_empty();
        let layer = Self::of(&asked, budget, |role, budget| {
            let path = match role {
                Role::Features => Some(files.features.as_path()).filter(|_| !is_bundled),
                Role::Logits => files.logits.as_deref(),
                Role::Probabilities => files.probabilities.as_deref(),
                Role::Weights => files.weights.as_deref(),
                Role::Labels => files.labels.as_deref(),
            };
            inputs.array(role, path, budget)
        })?;
        // The first process tells of the files.
        let tells = files.share.as_ref().is_none_or(|(world, _)| world.rank() == 0);
        Ok(Self { files: if tells { inputs.digests()? } else { Vec::new() }, ..layer })
    }

    /// Takes arrays that somebody holds in memory, and checks them as those of files. Features and scores of
    /// up to 64 MiB are read once; larger ones stay where they are, and are read there in parts whenever the
    /// samples are gone through: `memory_budget_bytes` is for what is held beside them.
    ///
    /// # Errors
    ///
    /// As [`Self::from_files`].
    pub fn from_arrays(arrays: &HostArrays, memory_budget_bytes: u64) -> Result<Self, LayerError> {
        let file = || host::MEMORY.to_owned();
        let scores = match (&arrays.logits, &arrays.probabilities) {
            (Some(_), None) => Role::Logits,
            (None, Some(_)) => Role::Probabilities,
            (Some(_), Some(_)) => return Err(LayerError::TwoScores { file: file() }),
            (None, None) => return Err(LayerError::NoScores { file: file() }),
        };
        let asked = Asked {
            file: file(),
            scores,
            logits_are_meant: arrays.logits_are_meant,
            ignore_index: arrays.ignore_index,
            share: None,
            most_in_memory: SMALL_BYTES,
        };
        let layer = Self::of(&asked, Budget::new(memory_budget_bytes), |role, _| arrays.array(role))?;
        // They are in memory as it is.
        Ok(Self { is_read_again: false, ..layer })
    }

    /// The error for logits that are distributions.
    pub fn no_logits(&self) -> LayerError {
        LayerError::ProbabilitiesAsLogits { array: self.scores.rows().name().to_owned() }
    }

    /// A layer of what `array` has for each role.
    fn of(
        asked: &Asked,
        mut budget: Budget,
        mut array: impl FnMut(Role, &mut Budget) -> Result<Option<Array>, LayerError>,
    ) -> Result<Self, LayerError> {
        let there = |role: Role, array: Option<Array>| array.ok_or_else(|| missing(&asked.file, role));
        let features = there(Role::Features, array(Role::Features, &mut budget)?)?.features()?;
        let scores = there(asked.scores, array(asked.scores, &mut budget)?)?.scores(&features)?;
        let weights = array(Role::Weights, &mut budget)?
            .map(|array| array.weights([scores.columns(), features.columns()]))
            .transpose()?;
        let labels = array(Role::Labels, &mut budget)?.map(|array| array.labels(&features)).transpose()?;

        let labels_place = labels.as_ref().map(|labels| labels.place().to_string());
        let classes = scores.columns().max(2);
        let labels = labels
            .map(|labels| Labels::read(&labels, classes, asked.ignore_index, &mut budget))
            .transpose()?;
        let weights = weights.map(|weights| whole(weights, &mut budget)).transpose()?;
        let kept = labels.as_ref().and_then(|labels| labels.kept.clone());
        let count = kept.as_ref().map_or(features.rows(), |kept| kept.len());
        let (own, all) = match &asked.share {
            Some((world, most)) => (share_of(&**world, count.min(*most)), count.min(*most)),
            None => (0..count, count),
        };
        let of_samples = |table, rule| Stored { table, rule, kept: kept.clone(), own: own.clone() };
        let rule = match (asked.scores, scores.columns()) {
            (Role::Logits, _) => Rule::Logits,
            (_, 1) => Rule::Probabilities,
            _ => Rule::Distributions,
        };
        let (features, scores) = (of_samples(features, Rule::Finite), of_samples(scores, rule));
        let in_memory = fit_in_memory([&features, &scores], &budget, asked.most_in_memory);
        let features = Rows::new(features, in_memory, &budget, |_, _| Ok(()))?;
        let classes_of = labels.as_ref().map(|labels| labels.classes.as_slice());
        let labelled = classes_of.zip(labels_place.as_deref());
        let (scores, are_distributions) =
            read_scores(scores, in_memory, &budget, asked.logits_are_meant, labelled)?;
        let layer = Self {
            place: (own.start, all),
            features,
            scores,
            weights,
            ignored: labels.as_ref().map(|labels| labels.ignored),
            labels: labels.map(|labels| labels.classes),
            files: Vec::new(),
            logits_are_distributions: are_distributions,
            is_read_again: !in_memory,
        };
        if are_distributions && asked.share.is_none() { Err(layer.no_logits()) } else { Ok(layer) }
    }
}

/// What is asked of the arrays of a last layer.
struct Asked {
    /// What the file of the features is called.
    file: String,
    /// Logits or probabilities.
    scores: Role,
    logits_are_meant: bool,
    ignore_index: i64,
    share: Option<(Arc<dyn World>, usize)>,
    /// Bytes of features and scores, decoded, above which they are read where they lie though they would fit
    /// into memory.
    most_in_memory: u64,
}

/// Where arrays come from: a file each, or the bundle, each in parts or in one.
struct Inputs {
    /// What messages call the bundle.
    name: String,
    bundles: Vec<Bundle>,
    opened: Vec<(PathBuf, Source)>,
}

impl Inputs {
    /// Opens the file of features if it is one of all arrays.
    fn open(features: &Path, budget: &mut Budget) -> Result<Self, LayerError> {
        let name = features.display().to_string();
        let mut inputs = Self { name, bundles: Vec::new(), opened: Vec::new() };
        if Bundle::is_one(features) {
            for path in parts::files_of(features)?.unwrap_or_else(|| vec![features.to_owned()]) {
                let source = Source::open(&path, budget)?;
                inputs.bundles.push(Bundle::open(&path, &source)?);
                inputs.opened.push((path, source));
            }
        }
        Ok(inputs)
    }

    /// The array for `role`, from its own file if there is one, else from the bundle.
    fn array(
        &mut self,
        role: Role,
        path: Option<&Path>,
        budget: &mut Budget,
    ) -> Result<Option<Array>, LayerError> {
        let Some(path) = path else { return self.bundled(role, budget) };
        let several = parts::files_of(path)?;
        let of_parts = several.is_some();
        let mut arrays = Vec::new();
        for path in several.unwrap_or_else(|| vec![path.to_owned()]) {
            let source = Source::open(&path, budget)?;
            arrays.push(npy::read(Place::new(role, source.name()), &source)?);
            self.opened.push((path, source));
        }
        match (of_parts, role) {
            (true, Role::Weights) => Err(LayerError::Parts {
                pattern: path.display().to_string(),
                problem: "stands for several files, and weights are one".to_owned(),
            }),
            (true, _) => Array::of_parts(&path.display().to_string(), arrays).map(Some),
            (false, _) => Ok(arrays.pop()),
        }
    }

    /// The array for `role` from the bundle.
    fn bundled(&self, role: Role, budget: &mut Budget) -> Result<Option<Array>, LayerError> {
        let mut arrays = Vec::new();
        for bundle in &self.bundles {
            arrays.extend(bundle.array(role, budget)?);
        }
        let (found, all) = (arrays.len(), self.bundles.len());
        let wrong = |problem| LayerError::Parts { pattern: self.name.clone(), problem };
        match (role, found) {
            (_, 0) => Ok(None),
            _ if all == 1 => Ok(arrays.pop()),
            (Role::Weights, 1) => Ok(arrays.pop()),
            (Role::Weights, _) => Err(wrong(format!(
                "has `weights` in {found} parts, and they are one array: keep one of them"
            ))),
            _ if found == all => Array::of_parts(&self.name, arrays).map(Some),
            _ => Err(wrong(format!("has `{}` in {found} of {all} parts", role.name()))),
        }
    }

    /// The checksums of all files.
    fn digests(&self) -> Result<Vec<FileDigest>, LayerError> {
        self.opened.iter().map(|(path, source)| source.digest(path)).collect()
    }
}

fn missing(file: &str, role: Role) -> LayerError {
    LayerError::Tensors { file: file.to_owned(), problem: format!("holds no `{}`", role.name()) }
}

/// Whether it is logits or probabilities that are read. What has a file of its own
/// is meant, whatever the bundle holds.
fn choose_scores(files: &LastLayerFiles, bundles: &[Bundle]) -> Result<Role, LayerError> {
    let file = || files.features.display().to_string();
    let bundled = |role| bundles.iter().any(|bundle| bundle.has(role));
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

/// A matrix that has to be in memory.
fn whole(table: Table, budget: &mut Budget) -> Result<Matrix, LayerError> {
    let own = 0..table.rows();
    let stored = Stored { table, rule: Rule::Finite, kept: None, own };
    let needed = stored.bytes_in_memory().saturating_add(stored.bytes_to_read());
    budget.take(needed, &stored.table.place().to_string(), "they are held whole")?;
    stored.read(0..stored.count())
}

/// Whether both can be read into memory, and are not more than `most` bytes.
fn fit_in_memory(matrices: [&Stored; 2], budget: &Budget, most: u64) -> bool {
    let held = matrices.iter().fold(0u64, |sum, matrix| sum.saturating_add(matrix.bytes_in_memory()));
    let beside = matrices.iter().map(|matrix| matrix.bytes_to_read()).max().unwrap_or_default();
    held <= most && held.saturating_add(beside) <= budget.left()
}

/// Reads scores, and what is to be known of all of them: whether a label is on a class without a probability, and
/// whether logits are none.
fn read_scores(
    stored: Stored,
    in_memory: bool,
    budget: &Budget,
    logits_are_meant: bool,
    labelled: Option<(&[usize], &str)>,
) -> Result<(Scores, bool), LayerError> {
    let (array, softmax) = (stored.table.place().to_string(), stored.table.columns() > 1);
    if stored.rule != Rule::Logits {
        return Ok((Scores::Probabilities(Rows::new(stored, in_memory, budget, |_, _| Ok(()))?), false));
    }
    let mut distributions = softmax && !logits_are_meant;
    let (kept, before) = (stored.kept.clone(), stored.own.start);
    let logits = Rows::new(stored, in_memory, budget, |part, first| {
        distributions = distributions && part.has_distributions();
        let Some((classes, labels)) = labelled.filter(|_| softmax) else { return Ok(()) };
        let first = before + first;
        let classes = classes.get(first..first + part.rows).unwrap_or_default();
        let infinite = |&(row, &class): &(usize, &usize)| part.element(row, class) == Some(f64::NEG_INFINITY);
        match classes.iter().enumerate().find(infinite) {
            None => Ok(()),
            Some((row, &label)) => Err(LayerError::ImpossibleLabel {
                array: labels.to_owned(),
                sample: rows::sample(kept.as_deref(), first + row),
                label,
                logits: array.clone(),
            }),
        }
    })?;
    Ok((Scores::Logits(logits), distributions))
}
