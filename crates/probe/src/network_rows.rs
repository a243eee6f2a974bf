//! What a study takes of a whole network's Hessian at one epoch.

use burn::module::Module;
use kappa_data::DataSet;
use kappa_model::{Network, Statistics};
use kappa_run::{Config, Precision, Request, RunDir, WholePoint, WholeRow};
use kappa_trainer::{DeviceSplit, Machine, TrainError, load_checkpoint, other_file, training_images};

use crate::{Observer, ProbeError, Proof, curvature};

/// The Hessian at `point` of `network`, which a run of `config` has trained, over the images of
/// `split`; none if the network has none of the parameters.
///
/// # Errors
///
/// As [`curvature`].
pub fn network_row(
    network: &Network,
    split: &DeviceSplit,
    config: &Config,
    point: &WholePoint,
    precision: Precision,
    observer: &dyn Observer,
) -> Result<Option<WholeRow>, ProbeError> {
    let Some(parameters) = point.parameters_of(config) else { return Ok(None) };
    let size = config.training.batch_size;
    let statistics = point.statistics.map_or(Statistics::Running, |kind| kind.of_batches(size));
    let request = Request { parameters, statistics, ..Request::new(precision) };
    let (summary, evidence) = curvature(network, split, &request, Proof::Short, observer)?;
    let checks = evidence.map(|evidence| evidence.checks).unwrap_or_default();
    Ok(Some(WholeRow { point: point.clone(), summary, checks }))
}

/// The same of `run`, from its checkpoint and the first `samples` images that it was trained on.
///
/// # Errors
///
/// [`ProbeError`]: [`TrainError::OtherData`] if `set` is not what the run was trained on.
pub fn recompute_network_row(
    run: &RunDir,
    point: &WholePoint,
    precision: Precision,
    samples: usize,
    set: &DataSet,
    machine: &Machine,
) -> Result<Option<WholeRow>, ProbeError> {
    let manifest = run.manifest()?;
    if let Some(file) = other_file(&manifest, set) {
        let (run, file) = (run.path().to_owned(), file.to_owned());
        return Err(TrainError::OtherData { run, file }.into());
    }
    let (_, checkpoint) = run.checkpoint(Some(point.epoch))?;
    let split = training_images(set, &manifest.config, samples, &machine.device)?;
    let network = load_checkpoint(&checkpoint, &machine.device)?.valid();
    network_row(&network, &split, &manifest.config, point, precision, &())
}
