//! A network as one safetensors file in PyTorch's layout.
//!
//! ```text
//! hidden.weight [m, d]   hidden.bias [m]
//! norm.weight [m]  norm.bias [m]  norm.running_mean [m]  norm.running_var [m]    (with batch norm)
//! output.weight [K, m]   output.bias [K]
//! metadata: "norm.eps", "norm.place" if it is "before"                           (with batch norm)
//!           "sha256", the file's checksum
//! ```
//!
//! With several hidden layers they are `hidden.0.weight`, `norm.0.weight`, .., as nn.ModuleList
//! names them. A `torch.nn.Module` with the attributes `hidden`, `norm`, `output` loads the file
//! with `load_state_dict`, and a file saved from one is read here: names and shapes say how
//! deep and wide the network is, and whether there is batch norm. Which tensors there are is
//! said by the table of the network's shape ([`NetworkShape::parameters`]).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use burn::tensor::{DType, Device, TensorData};
use kappa_fused::DeviceError;
use kappa_model::{Kind, Network, NetworkShape, Normalisation, Place};
use kappa_run::{RunError, SavedTensor, read_from_anywhere, read_sealed, shown, write_tensors};
use safetensors::{
    SafeTensors,
    tensor::{Dtype, Metadata, TensorView},
};

const EPSILON_KEY: &str = "norm.eps";
const PLACE_KEY: &str = "norm.place";
/// PyTorch counts batches in its state; the count has no use here.
const IGNORED: &str = ".num_batches_tracked";

/// A checkpoint could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The file could not be read or written, or is not as it was written.
    #[error(transparent)]
    File(#[from] RunError),
    /// The network could not be read from its device.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The file is not the checkpoint of a network.
    #[error("{} is not a checkpoint of a network: {problem}", shown(path))]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The file is not, or cannot be, Adam's state of a network.
    #[error("{} is not Adam's state of a network: {problem}", shown(path))]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// Writes `network` to `path`, whole or not at all.
///
/// # Errors
///
/// [`CheckpointError::File`], [`CheckpointError::Device`].
pub fn save_checkpoint(network: &Network, path: &Path) -> Result<(), CheckpointError> {
    let tensors: Vec<SavedTensor> = network
        .parameters::<f32>()?
        .into_iter()
        .map(|(parameter, values)| SavedTensor::of_singles(&parameter.name, parameter.shape, &values))
        .collect();
    let normalisation = network.shape().normalisation;
    let mut metadata = BTreeMap::new();
    if normalisation.kind == Kind::Batch {
        metadata.insert(EPSILON_KEY.to_owned(), normalisation.epsilon.to_string());
        if normalisation.place == Place::Before {
            metadata.insert(PLACE_KEY.to_owned(), "before".to_owned());
        }
    }
    Ok(write_tensors(path, &tensors, &metadata)?)
}

/// Reads a network that [`save_checkpoint`] wrote to `path`, of any depth and width, onto `device`.
///
/// # Errors
///
/// [`CheckpointError`] says that the file is altered, or which tensor is missing, unknown or of
/// another shape.
pub fn load_checkpoint(path: &Path, device: &Device) -> Result<Network, CheckpointError> {
    network_of(path, read_sealed(path)?, device)
}

/// Reads a network that anything else may have written: without a checksum, if it has none.
///
/// # Errors
///
/// As [`load_checkpoint`].
pub fn import_checkpoint(path: &Path, device: &Device) -> Result<Network, CheckpointError> {
    network_of(path, read_from_anywhere(path)?, device)
}

fn network_of(path: &Path, bytes: Vec<u8>, device: &Device) -> Result<Network, CheckpointError> {
    // The whole file is checked, not only its header, before anything is built from it.
    let file = SafeTensors::deserialize(&bytes).map_err(|error| malformed(path, error))?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| malformed(path, error))?;
    let shape = shape_of(&header).map_err(|problem| malformed(path, problem))?;
    Network::from_parameters(&shape, device, |parameter| {
        let tensor = file.tensor(&parameter.name).map_err(|error| malformed(path, error))?;
        singles(&tensor)
            .filter(|values| values.len() == parameter.shape.iter().product::<usize>())
            .ok_or_else(|| malformed(path, format!("`{}` cannot be read as numbers", parameter.name)))
    })
}

/// The elements of a tensor of floating point numbers, in single precision.
fn singles(tensor: &TensorView) -> Option<Vec<f32>> {
    let dtype = floating(tensor.dtype())?;
    let data = TensorData::from_bytes_vec(tensor.data().to_vec(), tensor.shape().to_vec(), dtype);
    data.convert_dtype(DType::F32).try_into_vec::<f32>().ok()
}

/// The types that numbers may have in a file.
fn floating(dtype: Dtype) -> Option<DType> {
    Some(match dtype {
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::F32 => DType::F32,
        Dtype::F64 => DType::F64,
        _ => return None,
    })
}

/// The network that a file's header describes, or what is wrong with it.
fn shape_of(header: &Metadata) -> Result<NetworkShape, String> {
    let tensors = header.tensors();
    let mut names: Vec<&String> = tensors.keys().filter(|name| !name.ends_with(IGNORED)).collect();
    names.sort();
    let has = |name: &str| tensors.contains_key(name);
    let weights: Vec<String> = if has("hidden.0.weight") {
        let numbered = (0..).map(|index| format!("hidden.{index}.weight"));
        numbered.take_while(|name| has(name)).collect()
    } else {
        vec!["hidden.weight".to_owned()]
    };
    let matrix = |name: &str| -> Result<[usize; 2], String> {
        let tensor = tensors.get(name).ok_or_else(|| match names.first() {
            Some(other) => format!("it has no tensor `{name}`, but a tensor `{other}`"),
            None => format!("it has no tensor `{name}`"),
        })?;
        match tensor.shape[..] {
            [rows @ (1..), columns @ (1..)] => Ok([rows, columns]),
            _ => Err(format!("`{name}` has shape {:?}, expected a matrix", tensor.shape)),
        }
    };
    let mut matrices = weights.iter().map(|name| matrix(name)).collect::<Result<Vec<_>, _>>()?;
    let inputs = matrices.first().map_or(0, |[_, inputs]| *inputs);
    let hidden: Vec<usize> = matrices.iter().map(|[units, _]| *units).collect();
    let [classes, features] = matrix("output.weight")?;
    matrices.push([classes, features]);
    let mut consumers = weights.iter().skip(1).map(String::as_str).chain(["output.weight"]);
    for ((before, units), [_, wanted]) in weights.iter().zip(&hidden).zip(matrices.iter().skip(1)) {
        let next = consumers.next().unwrap_or_default();
        if units != wanted {
            return Err(format!(
                "{before} has {units} hidden units and {next} takes {wanted}: they do not fit together"
            ));
        }
    }
    let normalisation = match names.iter().any(|name| name.starts_with("norm.")) {
        true => batch_norm_of(header)?,
        false => Normalisation::default(),
    };
    let shape = NetworkShape { inputs, hidden, classes, normalisation };
    let table = shape.parameters();
    if let Some(stranger) = names.iter().find(|name| table.iter().all(|row| row.name != ***name)) {
        let expected: Vec<_> = table.iter().map(|row| row.name.as_str()).collect();
        return Err(format!("it holds a tensor `{stranger}`; expected are {}", expected.join(", ")));
    }
    for row in &table {
        let tensor = tensors.get(&row.name).ok_or_else(|| format!("it has no tensor `{}`", row.name))?;
        if floating(tensor.dtype).is_none() {
            let dtype = tensor.dtype;
            return Err(format!("`{}` has elements of type {dtype:?}, not floating point", row.name));
        }
        if tensor.shape != row.shape {
            return Err(format!("`{}` has shape {:?}, expected {:?}", row.name, tensor.shape, row.shape));
        }
    }
    Ok(shape)
}

/// Batch norm as a file's metadata describe it; where they do not, as PyTorch has it. The
/// momentum plays no part once a network is trained, and no file holds it.
fn batch_norm_of(header: &Metadata) -> Result<Normalisation, String> {
    let metadata = header.metadata().as_ref();
    let said = |key: &str| metadata.and_then(|metadata| metadata.get(key)).map(String::as_str);
    let mut normalisation = Normalisation { kind: Kind::Batch, ..Normalisation::default() };
    if let Some(text) = said(EPSILON_KEY) {
        let epsilon = text.parse().ok().filter(|epsilon: &f64| epsilon.is_finite() && *epsilon > 0.0);
        normalisation.epsilon = epsilon.ok_or_else(|| {
            format!("its metadata says {EPSILON_KEY} = {text:?}, expected a number above 0")
        })?;
    }
    normalisation.place = match said(PLACE_KEY) {
        None | Some("after") => Place::After,
        Some("before") => Place::Before,
        Some(other) => {
            return Err(format!("its metadata says {PLACE_KEY} = {other:?}, expected after or before"));
        }
    };
    Ok(normalisation)
}

fn malformed(path: &Path, problem: impl ToString) -> CheckpointError {
    CheckpointError::Malformed { path: path.to_owned(), problem: problem.to_string() }
}
