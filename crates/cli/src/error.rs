//! What is said when something cannot be done.

use std::error::Error;

use kappa_data::DataError;
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
    #[error(transparent)]
    Study(#[from] StudyError),
    #[error(transparent)]
    Report(#[from] ReportError),
    #[error(
        "{run} was trained on other data than was found now: {file} has another checksum. \
         To take its Hessian on these images all the same, name them with --data"
    )]
    OtherData { run: String, file: String },
    #[error("{0}")]
    Usage(String),
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
