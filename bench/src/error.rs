//! What can go wrong, and how it is said.

use std::{error::Error, fmt::Display, io, path::PathBuf};

use burn::tensor::wgpu::WgpuInitError;
use kappa_data::{DataError, LayerError};
use kappa_hessian::HessianError;
use kappa_probe::ProbeError;
use kappa_run::RunError;
use kappa_trainer::TrainError;

/// Why something was not measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// Nothing went wrong: kappa has no such work, or not here.
    #[error("{0}")]
    Unavailable(&'static str),
    #[error(
        "no GPU could be initialised: {0}; --backend flex computes on the CPU, and on Linux a Vulkan driver is needed"
    )]
    NoGpu(#[from] WgpuInitError),
    #[error("the device failed: {0}")]
    Device(String),
    #[error("cannot write {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error(
        "{file} is {found:.1e} from the sums in f64 at N, m, K = {shape:?}, and {allowed:.1e} are allowed"
    )]
    Wrong { file: &'static str, shape: [usize; 3], found: f64, allowed: f64 },
    #[error("a configuration that was compiled in is none")]
    CompiledIn(#[from] toml::de::Error),
    #[error("the threads could not be started")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    #[error("requests could not be read, or answers not be written")]
    Lines(#[from] io::Error),
    #[error("not a request")]
    Request(#[from] serde_json::Error),
    #[error("{0}")]
    Panic(String),
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Layer(#[from] LayerError),
    #[error(transparent)]
    Hessian(#[from] HessianError),
    #[error(transparent)]
    Probe(#[from] ProbeError),
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
