//! A trained network on its images: its answer.

use std::{num::NonZeroUsize, path::PathBuf};

use kappa_data::DataSet;
use kappa_probe::TrainedNetwork;
use kappa_run::{Request, RunDir, free_memory};
use pyo3::prelude::*;

use crate::{answer::Answer, devices, failure::failure, requests::request, watch::watched};

/// What `asked`, fields of a request as JSON, comes to for the network of a run after `epoch`, or its last
/// one. Mini-batches of its training, or of `batch_size`, are meant by statistics named "batch".
#[pyfunction]
#[pyo3(signature = (run, epoch, data, batches, batch_size, asked, backend, progress=None))]
#[allow(clippy::too_many_arguments)] // what a call says, each by its name in Python
pub fn measure_network(
    py: Python<'_>,
    run: PathBuf,
    epoch: Option<usize>,
    data: Option<PathBuf>,
    batches: bool,
    batch_size: Option<NonZeroUsize>,
    asked: String,
    backend: String,
    progress: Option<Py<PyAny>>,
) -> PyResult<Answer> {
    watched(py, progress, move |watch| {
        let chosen = devices::chosen(&backend)?;
        let request = request(chosen.precision, &asked)?;
        let run = RunDir::open(&run).map_err(|error| failure(&error))?;
        let set = match &data {
            Some(folder) => DataSet::from_folder(folder, free_memory()),
            None => DataSet::mnist(),
        };
        let set = set.map_err(|error| failure(&error))?;
        let network = TrainedNetwork::of_run(&run, epoch, &set, data.is_some(), &chosen.machine);
        let mut network = network.map_err(|error| failure(&error))?;
        let statistics = match batches {
            true => network.batch_statistics(batch_size).map_err(|error| failure(&error))?,
            false => request.statistics,
        };
        let request = Request { statistics, ..request };
        let subject = network.subject(&request, watch).map_err(|error| failure(&error))?;
        Answer::of(subject, &chosen, watch)
    })
}
