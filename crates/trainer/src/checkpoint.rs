//! A network as one safetensors file in PyTorch's layout.
//!
//! ```text
//! hidden.weight [m, d]   hidden.bias [m]
//! norm.weight [m]  norm.bias [m]  norm.running_mean [m]  norm.running_var [m]    (FC+BN only)
//! output.weight [K, m]   output.bias [K]
//! metadata: "norm.eps"                                                           (FC+BN only)
//!           "sha256", the file's checksum
//! ```
//!
//! A `torch.nn.Module` with the attributes `hidden`, `norm`, `output` loads it
//! with `load_state_dict`, and a file saved from one is read here: the shapes say
//! how wide the network is, and whether there is batch norm.

use std::path::{Path, PathBuf};

use burn::{
    module::Module,
    store::{
        BurnToPyTorchAdapter, FloatCastAdapter, ModuleAdapter, ModuleSnapshot, PyTorchToBurnAdapter,
        SafetensorsStore,
    },
    tensor::{DType, Device},
};
use kappa_model::{BatchNormSettings, NetworkShape, TwoLayerNet};
use kappa_run::{RunError, read_from_anywhere, read_sealed, write_sealed};
use safetensors::{
    SafeTensors,
    tensor::{Dtype, Metadata},
};

const EPSILON_KEY: &str = "norm.eps";
/// PyTorch's default, and burn's, where a file does not say.
const DEFAULT_EPSILON: f64 = 1e-5;
/// Plays no part once a network is trained; a checkpoint does not hold it.
const MOMENTUM: f64 = 0.1;
const LINEAR: [&str; 4] = ["hidden.weight", "hidden.bias", "output.weight", "output.bias"];
const NORM: [&str; 4] = ["norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"];
/// PyTorch counts batches in its state; the count has no use here.
const IGNORED: &str = "norm.num_batches_tracked";

/// A checkpoint could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The file could not be read or written, or is not as it was written.
    #[error(transparent)]
    File(#[from] RunError),
    /// The file is not the checkpoint of a two-layer network.
    #[error("{path} is not a checkpoint of a two-layer network: {problem}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The file is not, or cannot be, Adam's state of a two-layer network.
    #[error("{path} is not Adam's state of a two-layer network: {problem}")]
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
/// [`CheckpointError::File`].
pub fn save_checkpoint(network: &TwoLayerNet, path: &Path) -> Result<(), CheckpointError> {
    // One metadata key at the most: burn writes them in a hash map's order, and the
    // same network is to give the same bytes.
    let mut store = SafetensorsStore::from_bytes(None).clear_metadata().with_to_adapter(BurnToPyTorchAdapter);
    if let Some(norm) = network.shape().batch_norm {
        store = store.metadata(EPSILON_KEY, norm.epsilon.to_string());
    }
    // `valid` brings the running statistics up to date: in a network that trains they lag
    // one batch behind, and so would the file.
    let bytes = network
        .valid()
        .save_into(&mut store)
        .and_then(|()| store.get_bytes())
        .map_err(|error| malformed(path, error))?;
    Ok(write_sealed(path, &bytes)?)
}

/// Reads a network that [`save_checkpoint`] wrote to `path`, of any width, onto `device`.
///
/// # Errors
///
/// [`CheckpointError`] says that the file is altered, or which tensor is missing, unknown or of
/// another shape.
pub fn load_checkpoint(path: &Path, device: &Device) -> Result<TwoLayerNet, CheckpointError> {
    network_of(path, read_sealed(path)?, device)
}

/// Reads a network that anything else may have written: without a checksum, if it has none.
///
/// # Errors
///
/// As [`load_checkpoint`].
pub fn import_checkpoint(path: &Path, device: &Device) -> Result<TwoLayerNet, CheckpointError> {
    network_of(path, read_from_anywhere(path)?, device)
}

fn network_of(path: &Path, bytes: Vec<u8>, device: &Device) -> Result<TwoLayerNet, CheckpointError> {
    // The whole file is checked, not only its header, before anything is built from it.
    SafeTensors::deserialize(&bytes).map_err(|error| malformed(path, error))?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| malformed(path, error))?;
    let shape = shape_of(&header).map_err(|problem| malformed(path, problem))?;

    let mut network = TwoLayerNet::blank(&shape, device);
    let mut store = SafetensorsStore::from_bytes(Some(bytes))
        .with_from_adapter(PyTorchToBurnAdapter.chain(FloatCastAdapter::to(DType::F32)));
    network.load_from(&mut store).map_err(|error| malformed(path, error))?;
    Ok(network)
}

/// The network that a file's header describes, or what is wrong with it.
fn shape_of(header: &Metadata) -> Result<NetworkShape, String> {
    let tensors = header.tensors();
    let known = |name: &str| LINEAR.contains(&name) || NORM.contains(&name) || name == IGNORED;
    let mut names: Vec<&String> = tensors.keys().collect();
    names.sort();
    if let Some(stranger) = names.iter().find(|name| !known(name)) {
        return Err(format!(
            "it holds a tensor `{stranger}`; expected {} and, with batch norm, {}",
            LINEAR.join(", "),
            NORM.join(", ")
        ));
    }
    let dimensions = |name: &str, rank: usize| -> Result<Vec<usize>, String> {
        let tensor = tensors.get(name).ok_or_else(|| format!("it has no tensor `{name}`"))?;
        if !matches!(tensor.dtype, Dtype::F32 | Dtype::F64 | Dtype::F16 | Dtype::BF16) {
            return Err(format!("`{name}` has elements of type {:?}, not floating point", tensor.dtype));
        }
        if tensor.shape.len() != rank || tensor.shape.contains(&0) {
            return Err(format!(
                "`{name}` has shape {:?}, expected {rank} dimension(s) above 0",
                tensor.shape
            ));
        }
        Ok(tensor.shape.clone())
    };
    let (hidden_weight, output_weight) = (dimensions("hidden.weight", 2)?, dimensions("output.weight", 2)?);
    let (&[hidden, inputs], &[classes, features]) = (&hidden_weight[..], &output_weight[..]) else {
        return Err("its weights are not matrices".to_owned());
    };
    if hidden != features {
        return Err(format!(
            "hidden.weight has shape {hidden_weight:?} and output.weight {output_weight:?}: \
             {hidden} hidden units and {features} do not fit together"
        ));
    }
    let has_norm = NORM.iter().any(|name| tensors.contains_key(*name));
    let vectors = [("hidden.bias", hidden), ("output.bias", classes)];
    let norm_vectors = NORM.map(|name| (name, hidden));
    for (name, length) in vectors.into_iter().chain(norm_vectors.into_iter().filter(|_| has_norm)) {
        let found = dimensions(name, 1)?;
        if found != [length] {
            return Err(format!("`{name}` has shape {found:?}, expected [{length}]"));
        }
    }
    let batch_norm = if has_norm {
        Some(BatchNormSettings { epsilon: epsilon_of(header)?, momentum: MOMENTUM })
    } else {
        None
    };
    Ok(NetworkShape { inputs, hidden, classes, batch_norm })
}

fn epsilon_of(header: &Metadata) -> Result<f64, String> {
    match header.metadata().as_ref().and_then(|metadata| metadata.get(EPSILON_KEY)) {
        None => Ok(DEFAULT_EPSILON),
        Some(text) => {
            text.parse().ok().filter(|epsilon: &f64| epsilon.is_finite() && *epsilon > 0.0).ok_or_else(|| {
                format!("its metadata says {EPSILON_KEY} = {text:?}, expected a number above 0")
            })
        }
    }
}

fn malformed(path: &Path, problem: impl ToString) -> CheckpointError {
    CheckpointError::Malformed { path: path.to_owned(), problem: problem.to_string() }
}
