//! A network as one safetensors file in PyTorch's layout.
//!
//! ```text
//! hidden.weight [m, d]   hidden.bias [m]
//! norm.weight [m]  norm.bias [m]  norm.running_mean [m]  norm.running_var [m]    (with batch norm)
//! output.weight [K, m]   output.bias [K]
//! metadata: "norm.eps", "norm.place" if it is "before"                           (with batch norm)
//!           "norm.kind" of a normalisation that is not batch norm, and the same of it
//!           "sha256", the file's checksum
//! ```
//!
//! Of batch norm's four tensors centring has bias and running_mean, scaling weight and running_var,
//! layer norm weight and bias. With weight norm a weight is two tensors, as
//! `torch.nn.utils.parametrizations.weight_norm` has them: `hidden.parametrizations.weight.original0`,
//! g [m, 1], and `.original1`, v [m, d].
//!
//! With several hidden layers they are `hidden.0.weight`, `norm.0.weight`, .., as nn.ModuleList
//! names them. A `torch.nn.Module` with the attributes `hidden`, `norm`, `output` loads the file
//! with `load_state_dict`, and a file saved from one is read here: names and shapes say how
//! deep and wide the network is, and whether there is batch norm. Which tensors there are is
//! said by the table of the network's shape ([`NetworkShape::parameters`]).

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use burn::tensor::{DType, Device, TensorData};
use kappa_fused::DeviceError;
use kappa_model::{Kind, Network, NetworkShape, Normalisation, Parameter, Place, Role};
use kappa_run::{RunError, SavedTensor, read_sealed, shown, write_tensors};
use safetensors::{
    SafeTensors,
    tensor::{Dtype, TensorInfo},
};

const EPSILON_KEY: &str = "norm.eps";
const PLACE_KEY: &str = "norm.place";
const KIND_KEY: &str = "norm.kind";
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
    /// Under these names and shapes the file's tensors are not known to be a network's.
    #[error(
        "{} is not a checkpoint of a network that is understood: {problem}. It holds {tensors}",
        shown(path)
    )]
    Names {
        /// The file.
        path: PathBuf,
        /// What is open.
        problem: String,
        /// Its tensors, by name and shape.
        tensors: String,
    },
    /// A running variance is negative.
    #[error(
        "{} is not a checkpoint of a network: `{tensor}` holds {value}, and no variance is negative",
        shown(path)
    )]
    NegativeVariance {
        /// The file.
        path: PathBuf,
        /// What the file calls the tensor.
        tensor: String,
        /// The first one.
        value: f32,
    },
    /// The file is not, or cannot be, an optimiser's state of a network.
    #[error("{} is not an optimiser's state of a network: {problem}", shown(path))]
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
    if !matches!(normalisation.kind, Kind::None | Kind::Weight) {
        if normalisation.kind != Kind::Batch {
            metadata.insert(KIND_KEY.to_owned(), normalisation.kind.to_string());
        }
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

fn network_of(path: &Path, bytes: Vec<u8>, device: &Device) -> Result<Network, CheckpointError> {
    // The whole file is checked, not only its header, before anything is built from it.
    let file = SafeTensors::deserialize(&bytes).map_err(|error| malformed(path, error))?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| malformed(path, error))?;
    let described = |(name, tensor): (String, &TensorInfo)| (name, (tensor.dtype, tensor.shape.clone()));
    let tensors: Tensors = header.tensors().into_iter().map(described).collect();
    let shape = stated(header.metadata().as_ref())
        .and_then(|stated| shape_of(&tensors, &stated))
        .map_err(|problem| malformed(path, problem))?;
    Network::from_parameters(&shape, device, |parameter| {
        let values = singles(path, &file, &parameter.name, parameter)?;
        if parameter.role == Role::RunningVariance {
            not_negative(path, &parameter.name, &values)?;
        }
        Ok(values)
    })
}

/// The elements of the tensor of floating point numbers that the file calls `name`, in single
/// precision.
pub(crate) fn singles(
    path: &Path,
    file: &SafeTensors<'_>,
    name: &str,
    parameter: &Parameter,
) -> Result<Vec<f32>, CheckpointError> {
    let tensor = file.tensor(name).map_err(|error| malformed(path, error))?;
    let dtype = floating(tensor.dtype());
    let values = dtype.and_then(|dtype| {
        let data = TensorData::from_bytes_vec(tensor.data().to_vec(), tensor.shape().to_vec(), dtype);
        data.convert_dtype(DType::F32).try_into_vec::<f32>().ok()
    });
    values
        .filter(|values| values.len() == parameter.shape.iter().product::<usize>())
        .ok_or_else(|| malformed(path, format!("`{name}` cannot be read as numbers")))
}

/// Refuses a running variance that is none.
pub(crate) fn not_negative(path: &Path, name: &str, values: &[f32]) -> Result<(), CheckpointError> {
    match values.iter().find(|&&value| value < 0.0) {
        None => Ok(()),
        Some(&value) => {
            Err(CheckpointError::NegativeVariance { path: path.to_owned(), tensor: name.to_owned(), value })
        }
    }
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

/// Tensors by kappa's names: type and shape of each.
pub(crate) type Tensors = BTreeMap<String, (Dtype, Vec<usize>)>;

/// What a file's metadata say of a normalisation.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stated {
    pub kind: Option<Kind>,
    pub place: Option<Place>,
    pub epsilon: Option<f64>,
}

/// The network that such tensors make up, or what is wrong with them.
pub(crate) fn shape_of(tensors: &Tensors, stated: &Stated) -> Result<NetworkShape, String> {
    let names: Vec<&String> = tensors.keys().filter(|name| !name.ends_with(IGNORED)).collect();
    let has = |name: &str| tensors.contains_key(name);
    // Of a weight, or of its v by weight norm.
    let by_weight = names.iter().any(|name| name.contains(".parametrizations."));
    let member = if by_weight { "parametrizations.weight.original1" } else { "weight" };
    let weights: Vec<String> = if has(&format!("hidden.0.{member}")) {
        let numbered = (0..).map(|index| format!("hidden.{index}.{member}"));
        numbered.take_while(|name| has(name)).collect()
    } else {
        vec![format!("hidden.{member}")]
    };
    let matrix = |name: &str| -> Result<[usize; 2], String> {
        let tensor = tensors.get(name).ok_or_else(|| match names.first() {
            Some(other) => format!("it has no tensor `{name}`, but a tensor `{other}`"),
            None => format!("it has no tensor `{name}`"),
        })?;
        match tensor.1[..] {
            [rows @ (1..), columns @ (1..)] => Ok([rows, columns]),
            _ => Err(format!("`{name}` has shape {:?}, expected a matrix", tensor.1)),
        }
    };
    let mut matrices = weights.iter().map(|name| matrix(name)).collect::<Result<Vec<_>, _>>()?;
    let inputs = matrices.first().map_or(0, |[_, inputs]| *inputs);
    let hidden: Vec<usize> = matrices.iter().map(|[units, _]| *units).collect();
    let output = format!("output.{member}");
    let [classes, features] = matrix(&output)?;
    matrices.push([classes, features]);
    let mut consumers = weights.iter().skip(1).map(String::as_str).chain([output.as_str()]);
    for ((before, units), [_, wanted]) in weights.iter().zip(&hidden).zip(matrices.iter().skip(1)) {
        let next = consumers.next().unwrap_or_default();
        if units != wanted {
            return Err(format!(
                "{before} has {units} hidden units and {next} takes {wanted}: they do not fit together"
            ));
        }
    }
    let normalisation = match names.iter().any(|name| name.starts_with("norm.")) {
        true => normalisation_of(stated),
        false if by_weight => Normalisation { kind: Kind::Weight, ..Normalisation::default() },
        false => Normalisation::default(),
    };
    let shape = NetworkShape { inputs, hidden, classes, normalisation };
    let table = shape.parameters();
    if let Some(stranger) = names.iter().find(|name| table.iter().all(|row| row.name != ***name)) {
        let expected: Vec<_> = table.iter().map(|row| row.name.as_str()).collect();
        return Err(format!("it holds a tensor `{stranger}`; expected are {}", expected.join(", ")));
    }
    for row in &table {
        let (dtype, found) =
            tensors.get(&row.name).ok_or_else(|| format!("it has no tensor `{}`", row.name))?;
        if floating(*dtype).is_none() {
            return Err(format!("`{}` has elements of type {dtype:?}, not floating point", row.name));
        }
        if *found != row.shape {
            return Err(format!("`{}` has shape {found:?}, expected {:?}", row.name, row.shape));
        }
    }
    Ok(shape)
}

/// What is stated of a normalisation; what is not, as PyTorch has batch norm.
fn normalisation_of(stated: &Stated) -> Normalisation {
    let usual = Normalisation::default();
    Normalisation {
        kind: stated.kind.unwrap_or(Kind::Batch),
        place: stated.place.unwrap_or(usual.place),
        epsilon: stated.epsilon.unwrap_or(usual.epsilon),
        ..usual
    }
}

/// A normalisation as a file's metadata describe it. The momentum plays no part once a network is
/// trained, and no file holds it.
pub(crate) fn stated(metadata: Option<&HashMap<String, String>>) -> Result<Stated, String> {
    let said = |key: &str| metadata.and_then(|metadata| metadata.get(key)).map(String::as_str);
    let epsilon = said(EPSILON_KEY).map(|text| {
        let epsilon = text.parse().ok().filter(|epsilon: &f64| epsilon.is_finite() && *epsilon > 0.0);
        epsilon
            .ok_or_else(|| format!("its metadata says {EPSILON_KEY} = {text:?}, expected a number above 0"))
    });
    let place = match said(PLACE_KEY) {
        None => None,
        Some("after") => Some(Place::After),
        Some("before") => Some(Place::Before),
        Some(other) => {
            return Err(format!("its metadata says {PLACE_KEY} = {other:?}, expected after or before"));
        }
    };
    let kind = said(KIND_KEY).map(|name| {
        let kind = [Kind::Batch, Kind::Centre, Kind::Scale, Kind::Layer];
        let named = kind.into_iter().find(|kind| kind.to_string() == name);
        named.ok_or_else(|| {
            format!("its metadata says {KIND_KEY} = {name:?}, expected batch, centre, scale or layer")
        })
    });
    Ok(Stated { kind: kind.transpose()?, place, epsilon: epsilon.transpose()? })
}

pub(crate) fn malformed(path: &Path, problem: impl ToString) -> CheckpointError {
    CheckpointError::Malformed { path: path.to_owned(), problem: problem.to_string() }
}
