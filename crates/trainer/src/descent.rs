//! Gradient descent by burn's Sgd, and what its momentum keeps as one safetensors file.
//!
//! ```text
//! NAME.momentum_buffer   v = momentum v + g of each parameter, under its name and in its shape in the
//!                        checkpoint, as PyTorch's SGD has it
//! ```
//!
//! Without momentum there is no state, and no file.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use burn::{
    optim::{
        LearningRate, ModuleOptimizer, Optimizer, Sgd, SgdConfig, SgdState,
        momentum::{MomentumConfig, MomentumState},
    },
    tensor::{Device, Tensor, TensorData},
};
use kappa_model::{NetworkShape, Parameter};
use kappa_run::{DescentConfig, read_sealed, write_tensors};
use safetensors::SafeTensors;

use crate::{
    CheckpointError, Trainer,
    adam::{malformed, moment_of, saved_moments},
};

/// burn's name of the buffer, and PyTorch's.
const BUFFER: (&str, &str) = (".momentum.velocity", ".momentum_buffer");

fn sgd(settings: &DescentConfig) -> SgdConfig {
    // burn dampens by default, PyTorch does not.
    let momentum = MomentumConfig { momentum: settings.momentum, dampening: 0.0, nesterov: false };
    SgdConfig::new().with_momentum((settings.momentum > 0.0).then_some(momentum))
}

/// Gradient descent from the start.
pub(crate) fn begin(settings: &DescentConfig) -> ModuleOptimizer {
    sgd(settings).init()
}

/// Of one parameter, taken up where it was left.
#[derive(Clone)]
pub(crate) struct Continued {
    sgd: Sgd,
    velocity: Arc<TensorData>,
}

impl Continued {
    pub fn new(settings: &DescentConfig, velocity: TensorData) -> Self {
        Self { sgd: sgd(settings).build(), velocity: Arc::new(velocity) }
    }
}

impl Optimizer for Continued {
    type State<const D: usize> = SgdState<D>;

    fn step<const D: usize>(
        &self,
        learning_rate: LearningRate,
        parameter: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<SgdState<D>>,
    ) -> (Tensor<D>, Option<SgdState<D>>) {
        let state = state.unwrap_or_else(|| {
            let velocity = Tensor::from_data((*self.velocity).clone(), &gradient.device());
            SgdState::new(Some(MomentumState::new(velocity)))
        });
        self.sgd.step(learning_rate, parameter, gradient, Some(state))
    }

    fn to_device<const D: usize>(state: SgdState<D>, device: &Device) -> SgdState<D> {
        Sgd::to_device(state, device)
    }
}

/// Writes what the momentum of `trainer` keeps to `path`, whole or not at all.
///
/// # Errors
///
/// [`CheckpointError::File`], or [`CheckpointError::State`].
pub(crate) fn save_momentum(trainer: &Trainer, path: &Path) -> Result<(), CheckpointError> {
    let (tensors, _) = saved_moments(trainer, &[BUFFER], path)?;
    Ok(write_tensors(path, &tensors, &BTreeMap::new())?)
}

/// What it kept of each parameter of a network of `shape`, by burn's path of it.
///
/// # Errors
///
/// [`CheckpointError`] says which tensor is missing, of another shape or impossible.
pub(crate) fn load_momentum(
    path: &Path,
    shape: &NetworkShape,
) -> Result<Vec<(String, TensorData)>, CheckpointError> {
    let bytes = read_sealed(path)?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| malformed(path, error))?;
    let trained = shape.parameters().into_iter().filter(Parameter::is_trained);
    let buffers = trained.map(|row| {
        let numbers = moment_of(&file, &row.name, BUFFER.1, &row.shape)?;
        Ok((row.path(), TensorData::new(row.to_burns_layout(&numbers), row.burns_shape())))
    });
    buffers.collect::<Result<_, String>>().map_err(|problem| malformed(path, problem))
}
