//! Why a training did not finish.

use std::path::PathBuf;

use kappa_data::DataError;
use kappa_fused::DeviceError;
use kappa_run::{RunError, shown};

use crate::CheckpointError;

/// A training could not begin or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The data set cannot be split as asked.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The run directory cannot be written.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A checkpoint cannot be written or read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// All pixels are equal, so they have no scale.
    #[error(
        "every pixel of the training split is {0}: there is nothing to standardise, and nothing to learn from"
    )]
    ConstantPixels(u8),
    /// A number in the training is not finite.
    #[error(
        "{tensor} holds {value} {}: training diverged. Epochs before that are kept",
        place(*.epoch, *.step)
    )]
    Diverged {
        /// The first tensor that holds it.
        tensor: String,
        /// NaN or an infinity.
        value: f64,
        /// The epoch.
        epoch: usize,
        /// The epoch's step, counted from 1, where one can be named.
        step: Option<usize>,
    },
    /// The observer wished to stop.
    #[error("stopped")]
    Stopped,
    /// A run was trained on other data than are there to go on with.
    #[error(
        "{} was trained on other data than was found now: {file} has another checksum, so it cannot go on",
        shown(run)
    )]
    OtherData {
        /// The run directory.
        run: PathBuf,
        /// The file that differs.
        file: String,
    },
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

fn place(epoch: usize, step: Option<usize>) -> String {
    match step {
        Some(step) => format!("in step {step} of epoch {epoch}"),
        None => format!("after epoch {epoch}"),
    }
}
