//! Adam's state as one safetensors file in PyTorch's layout.
//!
//! ```text
//! NAME.exp_avg, NAME.exp_avg_sq   m and v of each parameter, under its name and in its shape
//!                                 in the checkpoint: output.weight.exp_avg [K, m]
//! step [1] i64                    t, the steps taken; every parameter takes part in each
//! ```
//!
//! m and v are as the recursion leaves them: both begin at zero and are divided
//! by 1 - beta^t when they are used, not before.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use burn::tensor::TensorData;
use burn_pack::Reader;
use kappa_fused::Moments;
use kappa_model::{NetworkShape, Parameter};
use kappa_run::{AdamConfig, SavedTensor, read_sealed, write_sealed, write_tensors};
use safetensors::{
    SafeTensors,
    tensor::{Dtype, TensorView},
};

use crate::{CheckpointError, Trainer};

const STEP: &str = "step";
const WEIGHT: &str = "output.weight";
const BIAS: &str = "output.bias";
/// burn's names of the two moments, and PyTorch's.
const MOMENTS: [(&str, &str); 2] = [(".momentum.moment_1", FIRST), (".momentum.moment_2", SECOND)];
const FIRST: &str = ".exp_avg";
const SECOND: &str = ".exp_avg_sq";
/// burn's name of the count of steps.
const TIME: &str = ".momentum.time";

/// Adam's state for the output layer, W2 and b2.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct AdamState {
    /// The steps taken t, 1 or more.
    pub step: u32,
    /// m: the decayed mean of the gradients, not yet divided by 1 - beta_1^t.
    pub first_moment: OutputLayer,
    /// v: the decayed mean of their squares, not yet divided by 1 - beta_2^t.
    pub second_moment: OutputLayer,
}

/// A number for each parameter of the output layer.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct OutputLayer {
    /// For W2 [K, m], class by class: index k * m + i.
    pub weight: Vec<f64>,
    /// For b2 \[K\].
    pub bias: Vec<f64>,
}

impl OutputLayer {
    /// The number of classes K.
    pub fn classes(&self) -> usize {
        self.bias.len()
    }

    /// The number of features m, without a constant one.
    pub fn features(&self) -> usize {
        self.weight.len().checked_div(self.bias.len()).unwrap_or(0)
    }

    /// Both as one [K, m + 1], index k * (m + 1) + i, the bias last in each row:
    /// it weighs a constant feature after the others.
    pub fn with_bias(&self) -> Vec<f64> {
        let rows = self.weight.chunks_exact(self.features().max(1));
        rows.zip(&self.bias).flat_map(|(row, bias)| row.iter().chain([bias])).copied().collect()
    }

    fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        self.zip(self, |number, _| f(number))
    }

    fn zip(&self, other: &Self, f: impl Fn(f64, f64) -> f64) -> Self {
        let pairs = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect();
        Self { weight: pairs(&self.weight, &other.weight), bias: pairs(&self.bias, &other.bias) }
    }
}

impl AdamState {
    /// D = sqrt(v_hat) + epsilon, v_hat = v / (1 - beta_2^t): what Adam divides
    /// m_hat by. `adam` is the training's own.
    pub fn preconditioner(&self, adam: &AdamConfig) -> OutputLayer {
        self.second_moment.map(divisor(adam, self.step))
    }

    /// -learning_rate * m_hat / D, m_hat = m / (1 - beta_1^t): what the last step
    /// added to each parameter. `adam` is the training's own.
    pub fn last_update(&self, adam: &AdamConfig) -> OutputLayer {
        let factor = -adam.learning_rate / f64::from(correction(adam.beta_1, self.step));
        self.first_moment.zip(&self.preconditioner(adam), |first, divisor| factor * first / divisor)
    }
}

/// 1 - beta^t as burn has it, in f32. Near beta = 1 its rounding (1e-5 of it for
/// 0.999 and the first step) is far above that of the moments, which hold the
/// same: in f64 it would not be what the training divided by.
fn correction(beta: f64, step: u32) -> f32 {
    1.0 - (beta as f32).powi(step as i32)
}

/// Writes the state of `trainer`'s Adam, that of every parameter, to `path`, whole
/// or not at all.
///
/// # Errors
///
/// [`CheckpointError::File`], or [`CheckpointError::State`] before the first step.
pub fn save_adam_state(trainer: &Trainer, path: &Path) -> Result<(), CheckpointError> {
    let (mut tensors, times) = saved_moments(trainer, &MOMENTS, path)?;
    let step = match (times.first(), times.len()) {
        (Some(&step), 1) => i64::from(step).to_le_bytes(),
        (None, _) => return Err(malformed(path, "no step was taken yet")),
        _ => return Err(malformed(path, "its parameters took part in different steps")),
    };
    let step = SavedTensor { name: STEP.to_owned(), shape: vec![1], dtype: Dtype::I64, bytes: step.to_vec() };
    tensors.insert(0, step);
    Ok(write_tensors(path, &tensors, &BTreeMap::new())?)
}

/// What the optimiser of `trainer` keeps of each parameter, `names` being burn's and PyTorch's of it, and
/// the steps that each has taken.
pub(crate) fn saved_moments(
    trainer: &Trainer,
    names: &[(&str, &str)],
    path: &Path,
) -> Result<(Vec<SavedTensor>, BTreeSet<u32>), CheckpointError> {
    // burn's optimiser keeps the moments to itself; its own format is the one way to them.
    let bytes = trainer.optimizer().into_bytes().map_err(|error| malformed(path, error))?;
    let record = Reader::from_bytes(bytes).map_err(|error| malformed(path, error))?;
    let parameters = record.metadata().clone();
    let times = record.scalars().iter().filter(|(name, _)| name.ends_with(TIME));
    let times: BTreeSet<u32> = times.filter_map(|(_, &time)| u32::try_from(time).ok()).collect();
    let table = trainer.network().shape().parameters();
    let mut tensors = Vec::new();
    for tensor in record.into_tensors().map_err(|error| malformed(path, error))? {
        let moment = names.iter().find_map(|(burns, torchs)| {
            let path = parameters.get(tensor.name.strip_suffix(burns)?)?;
            Some((table.iter().find(|row| row.path() == *path)?, torchs))
        });
        let Some((row, suffix)) = moment else {
            return Err(malformed(path, format!("burn keeps a `{}`, which is unknown", tensor.name)));
        };
        let (.., bytes) = tensor.into_parts().map_err(|error| malformed(path, error))?;
        let numbers = row.to_pytorchs_layout(&singles(&bytes));
        tensors.push(SavedTensor::of_singles(&format!("{}{suffix}", row.name), row.shape.clone(), &numbers));
    }
    Ok((tensors, times))
}

/// Numbers as they lie in a file.
fn singles(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

/// Leaves in the file at `path` what [`load_adam_state`] reads: the state of the
/// output layer.
///
/// # Errors
///
/// [`CheckpointError`]; the file is as it was then.
pub(crate) fn keep_output_layer(path: &Path) -> Result<(), CheckpointError> {
    let bytes = read_sealed(path)?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| malformed(path, error))?;
    let kept = |name: &str| name == STEP || name.starts_with("output.");
    let views = file.tensors().into_iter().filter(|(name, _)| kept(name));
    let bytes = safetensors::serialize(views, None).map_err(|error| malformed(path, error))?;
    Ok(write_sealed(path, &bytes)?)
}

/// Reads Adam's state for the output layer from `path`.
///
/// # Errors
///
/// [`CheckpointError`] says which tensor is missing, of another shape or impossible.
pub fn load_adam_state(path: &Path) -> Result<AdamState, CheckpointError> {
    let bytes = read_sealed(path)?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| malformed(path, error))?;
    state_of(&file).map_err(|problem| malformed(path, problem))
}

fn state_of(file: &SafeTensors) -> Result<AdamState, String> {
    let first = tensor_of(file, &format!("{WEIGHT}{FIRST}"), Dtype::F32)?;
    let &[classes @ (1..), features @ (1..)] = first.shape() else {
        let shape = first.shape();
        return Err(format!("`{WEIGHT}{FIRST}` has shape {shape:?}, expected [classes, features]"));
    };
    let layer = |suffix: &str| {
        let numbers = |parameter: &str, shape: &[usize]| {
            let numbers = moment_of(file, parameter, suffix, shape)?;
            Ok::<Vec<f64>, String>(numbers.into_iter().map(f64::from).collect())
        };
        let weight = numbers(WEIGHT, &[classes, features])?;
        Ok::<_, String>(OutputLayer { weight, bias: numbers(BIAS, &[classes])? })
    };
    Ok(AdamState { step: step_of(file)?, first_moment: layer(FIRST)?, second_moment: layer(SECOND)? })
}

/// D = sqrt(v_hat) + epsilon, as [`AdamState::preconditioner`] has it, of `parameters` one after the
/// other, each flattened as PyTorch lays it out, from the state in `path`; none if it is not of all of
/// them.
///
/// # Errors
///
/// [`CheckpointError`] says which tensor is of another shape or impossible.
pub fn preconditioner(
    path: &Path,
    parameters: &[Parameter],
    adam: &AdamConfig,
) -> Result<Option<Vec<f64>>, CheckpointError> {
    let bytes = read_sealed(path)?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| malformed(path, error))?;
    let kept = |parameter: &Parameter| file.tensor(&format!("{}{SECOND}", parameter.name)).is_ok();
    if !parameters.iter().all(kept) {
        return Ok(None);
    }
    let step = step_of(&file).map_err(|problem| malformed(path, problem))?;
    let divisor = divisor(adam, step);
    let mut divisors = Vec::new();
    for parameter in parameters {
        let second = moment_of(&file, &parameter.name, SECOND, &parameter.shape);
        let second = second.map_err(|problem| malformed(path, problem))?;
        divisors.extend(second.into_iter().map(|second| divisor(second.into())));
    }
    Ok(Some(divisors))
}

/// D of a second moment after so many steps.
fn divisor(adam: &AdamConfig, step: u32) -> impl Fn(f64) -> f64 {
    let root = f64::from(correction(adam.beta_2, step).sqrt());
    let epsilon = f64::from(adam.epsilon as f32);
    move |second| second.sqrt() / root + epsilon
}

fn tensor_of<'a>(file: &SafeTensors<'a>, name: &str, dtype: Dtype) -> Result<TensorView<'a>, String> {
    let tensor = file.tensor(name).map_err(|_| format!("it has no tensor `{name}`"))?;
    if tensor.dtype() == dtype {
        Ok(tensor)
    } else {
        Err(format!("`{name}` has elements of type {:?}, expected {dtype:?}", tensor.dtype()))
    }
}

/// A moment of a parameter that has `shape` in the file.
pub(crate) fn moment_of(
    file: &SafeTensors,
    parameter: &str,
    suffix: &str,
    shape: &[usize],
) -> Result<Vec<f32>, String> {
    let name = format!("{parameter}{suffix}");
    let tensor = tensor_of(file, &name, Dtype::F32)?;
    if tensor.shape() != shape {
        return Err(format!("`{name}` has shape {:?}, expected {shape:?}", tensor.shape()));
    }
    let numbers = singles(tensor.data());
    let impossible = |number: &&f32| !number.is_finite() || (suffix == SECOND && **number < 0.0);
    match numbers.iter().find(impossible) {
        Some(number) => Err(format!("`{name}` holds {number}, which no mean of gradients can be")),
        None => Ok(numbers),
    }
}

fn step_of(file: &SafeTensors) -> Result<u32, String> {
    let steps = tensor_of(file, STEP, Dtype::I64)?;
    let step = match steps.data().as_chunks() {
        // burn raises the betas to an i32.
        ([step], []) => i32::try_from(i64::from_le_bytes(*step)).ok().filter(|&step| step > 0),
        _ => None,
    };
    let step = step.ok_or_else(|| format!("`{STEP}` is not one number above 0 (and below 2^31)"))?;
    Ok(step.unsigned_abs())
}

/// What Adam keeps of each parameter of a network, by burn's path of it.
pub(crate) type AllMoments = Vec<(String, Moments)>;

/// Reads Adam's whole state for a network of `shape` from `path`.
///
/// # Errors
///
/// [`CheckpointError`] says which tensor is missing, of another shape or impossible.
pub(crate) fn load_moments(path: &Path, shape: &NetworkShape) -> Result<AllMoments, CheckpointError> {
    let bytes = read_sealed(path)?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| malformed(path, error))?;
    let steps = step_of(&file).map_err(|problem| malformed(path, problem))?;
    let steps = usize::try_from(steps).unwrap_or(usize::MAX);
    let trained = shape.parameters().into_iter().filter(Parameter::is_trained);
    let moments = trained.map(|row| {
        let moment = |suffix: &str| {
            let numbers = moment_of(&file, &row.name, suffix, &row.shape)?;
            Ok::<_, String>(TensorData::new(row.to_burns_layout(&numbers), row.burns_shape()))
        };
        Ok((row.path(), Moments { steps, first: moment(FIRST)?, second: moment(SECOND)? }))
    });
    moments.collect::<Result<_, String>>().map_err(|problem| malformed(path, problem))
}

pub(crate) fn malformed(path: &Path, problem: impl ToString) -> CheckpointError {
    CheckpointError::State { path: path.to_owned(), problem: problem.to_string() }
}
