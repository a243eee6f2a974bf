//! What is said when something cannot be done.

use std::{error::Error, io};

use kappa_data::{DataError, LayerError};
use kappa_probe::ProbeError;
use kappa_report::ReportError;
use kappa_run::{RunError, escaped};
use kappa_study::StudyError;
use kappa_trainer::{CheckpointError, TrainError};
use kappa_why::WhyError;

use crate::{advice, backend::BackendError, output::printable};

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
    /// The results of a Hessian cannot be written where they go if no folder is named.
    #[error(transparent)]
    NoPlace(RunError),
    #[error(transparent)]
    Study(#[from] StudyError),
    #[error(transparent)]
    Why(#[from] WhyError),
    #[error(transparent)]
    Report(#[from] ReportError),
    #[error(transparent)]
    Layer(#[from] LayerError),
    #[error(
        "the evidence does not hold ({failed}): do not trust these numbers; spectrum.json or spectra.json has what was found"
    )]
    Unproven { failed: String },
    #[error("the evidence does not hold ({failed}): do not trust these numbers; {file} has what was found")]
    UnprovenPosterior { failed: String, file: String },
    #[error("no classifier is named")]
    NoClassifier,
    #[error("there are no test samples whose losses something could do something to")]
    NoTestSamples,
    #[error("{wrong} of what was checked is wrong: see above, and do not trust what is named there")]
    Unverified { wrong: usize },
    #[error(
        "kappa has a bug: {message} ({place}). What was saved is whole. Please report this with the command \
         that you typed; RUST_BACKTRACE=1 shows where it was"
    )]
    Panic { message: String, place: String },
    #[error("not all that was to be printed could be; what was to be saved is saved")]
    NotPrinted(#[source] io::Error),
    #[error("{0}")]
    Task(String),
    #[error("this is one of {0} processes, and only `kappa hessian` is for several")]
    OneProcess(usize),
    #[cfg(not(feature = "mpi"))]
    #[error("this is one of {0} processes, and this build has no MPI: compile it with --features mpi")]
    NoMpi(usize),
    #[cfg(feature = "mpi")]
    #[error(transparent)]
    Mpi(#[from] kappa_mpi::MpiError),
    #[error("{0} is for one process, and these are several: leave it out")]
    NotForSeveral(&'static str),
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

/// What the libraries say when the device fails.
const DEVICE_FAILED: &str = "the device failed: ";

/// Prints an error and its causes, each on a line of its own, and what to type then.
pub fn report(error: &CliError) {
    let text = match error {
        // One line each, but for the names of files in them.
        CliError::Layer(_) | CliError::Data(_) => with_causes(escaped(&error.to_string(), |_| false), error),
        error => with_causes(error.to_string(), error),
    };
    eprintln!("error: {}", of_device(&text));
    if let Some(advice) = advice::on(error) {
        eprintln!("  {advice}");
    }
}

/// What is said of an error of any of kappa's libraries: its causes too, each on a line of its own.
pub fn message(error: &dyn Error) -> String {
    of_device(&with_causes(error.to_string(), error))
}

fn with_causes(mut text: String, error: &dyn Error) -> String {
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!("\n  because: {error}"));
        cause = error.source();
    }
    text
}

/// Of what a device's driver says, which is long, the cause alone.
fn of_device(text: &str) -> String {
    match text.split_once(DEVICE_FAILED) {
        Some((before, failure)) => {
            tracing::debug!("all that the device's driver said: {failure}");
            printable(&format!("{before}{DEVICE_FAILED}{}", root(failure)))
        }
        None => printable(text),
    }
}

/// The innermost cause of what burn says, which tells the whole way to it and where it was asked.
fn root(failure: &str) -> &str {
    let causes = failure.split("Caused by:").map(|cause| cause.trim().lines().next().unwrap_or_default());
    causes.last().unwrap_or(failure)
}

#[cfg(test)]
mod tests {
    use super::root;

    #[test]
    fn of_a_failure_the_innermost_cause_is_told() {
        let failure = "An error happened during execution\nCaused by:\n  Several failures at once\nCaused by:\n  \
                       can't allocate buffer of size: 205520896\nNo backtrace available\nAsked at:\n  x";
        assert_eq!(root(failure), "can't allocate buffer of size: 205520896");
        assert_eq!(root("lost"), "lost");
    }
}
