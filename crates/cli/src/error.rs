//! What is said when something cannot be done.

use std::error::Error;

use kappa_data::{DataError, LayerError};
use kappa_report::ReportError;
use kappa_run::RunError;
use kappa_study::{ProbeError, StudyError};
use kappa_trainer::{CheckpointError, TrainError};

use crate::backend::BackendError;

/// Everything that can end the program.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Train(#[from] TrainError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Probe(#[from] ProbeError),
    #[error("{checkpoint} has no spectrum to show")]
    Spectrum { checkpoint: String, source: ProbeError },
    #[error(transparent)]
    Study(#[from] StudyError),
    #[error(transparent)]
    Report(#[from] ReportError),
    #[error(
        "{run} was trained on other data than was found now: {file} has another checksum. \
         To take its Hessian on these images all the same, name them with --data"
    )]
    OtherData { run: String, file: String },
    #[error(transparent)]
    Layer(#[from] LayerError),
    #[error(
        "H of {classes} classes x {features} features needs {matrix:.0} GB, {needed:.0} GB with its eigenvectors, and \
         {free:.1} GB are free; with {classes} classes {largest} features would fit. \
         --top 10 and --density need no H"
    )]
    NoMemory { features: usize, classes: usize, matrix: f64, needed: f64, free: f64, largest: usize },
    #[error(
        "{count} directions of {size} numbers need {needed:.1} GB, and {free:.1} GB are free: \
         ask for fewer eigenvalues (--top) or steps (--steps)"
    )]
    NoMemoryForDirections { count: usize, size: usize, needed: f64, free: f64 },
    #[error(
        "the evidence does not hold ({failed}): do not trust these numbers; spectrum.json or spectra.json has what was found"
    )]
    Unproven { failed: String },
    #[error("{wrong} of what was checked is wrong: see above, and do not trust what is named there")]
    Unverified { wrong: usize },
    #[error("{0}")]
    Usage(String),
    #[error("stopped; whole epochs are kept, and `kappa train --resume {0}` goes on from there")]
    TrainingStopped(String),
    #[error("stopped before the Hessian; `kappa hessian` takes it")]
    Stopped,
    #[error("stopped; the same command goes on from here")]
    StudyStopped,
}

impl CliError {
    /// Whether it was the user who ended the program.
    pub fn is_stop(&self) -> bool {
        matches!(self, Self::TrainingStopped(_) | Self::Stopped | Self::StudyStopped)
    }
}

/// Prints an error and its causes, each on a line of its own.
pub fn report(error: &CliError) {
    eprintln!("error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprintln!("  because: {error}");
        cause = error.source();
    }
}
