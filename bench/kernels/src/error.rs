//! What can go wrong, and how it is said.

use std::{error::Error, fmt::Display};

use burn::tensor::wgpu::WgpuInitError;
use kappa_data::DataError;
use kappa_run::RunError;
use kappa_trainer::TrainError;

/// Why something was not measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error("no GPU could be initialised: {0}; on Linux a Vulkan driver is needed")]
    NoGpu(#[from] WgpuInitError),
    #[error("the device failed: {0}")]
    Device(String),
    #[error(
        "{file} is {found:.1e} from the sums in f64 at N, m, K = {shape:?}, and {allowed:.1e} are allowed"
    )]
    Wrong { file: &'static str, shape: [usize; 3], found: f64, allowed: f64 },
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Configuration(#[from] RunError),
    #[error(transparent)]
    Training(#[from] TrainError),
}

impl BenchError {
    pub fn device(error: impl Display) -> Self {
        Self::Device(error.to_string())
    }
}

/// An error and what caused it, in one line.
pub fn with_causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
