//! Spectra of a study's run, computed again from a checkpoint.

use burn::{module::Module, tensor::Device};
use kappa_data::DataSet;
use kappa_run::{Config, RunDir};
use kappa_trainer::{DeviceSplit, PixelScaling, TrainError, load_checkpoint, other_file, split_data};

use crate::{Precision, StudyError, plan, spectra::spectra};

/// The training split of `config` on `device`, as its run and its spectra see it.
pub(crate) fn training_split(
    set: &DataSet,
    config: &Config,
    device: &Device,
) -> Result<DeviceSplit, TrainError> {
    let splits = split_data(set, &config.data, config.seed)?;
    let scaling = PixelScaling::new(config.data.scaling, &splits.train)?;
    Ok(DeviceSplit::new(&splits.train, set.classes, scaling, device))
}

/// All eigenvalues, largest first, of each variant of `run` after `epoch`, by the variant's name.
///
/// # Errors
///
/// [`StudyError`]: [`TrainError::OtherData`] if `set` is not what the run was trained on.
pub fn spectra_again(
    run: &RunDir,
    epoch: usize,
    precision: Precision,
    set: &DataSet,
    device: &Device,
) -> Result<Vec<(String, Vec<f64>)>, StudyError> {
    let manifest = run.manifest()?;
    if let Some(file) = other_file(&manifest, set) {
        let (run, file) = (run.path().to_owned(), file.to_owned());
        return Err(TrainError::OtherData { run, file }.into());
    }
    let (_, checkpoint) = run.checkpoint(Some(epoch))?;
    let split = training_split(set, &manifest.config, device)?;
    let network = load_checkpoint(&checkpoint, device)?.valid();
    let statistics = plan::statistics(&manifest.config.training);
    let rows = spectra(&network, &split, epoch, precision, &statistics)
        .map_err(|source| StudyError::Probe { run: run.path().to_owned(), epoch, source })?;
    Ok(rows.into_iter().map(|(row, eigenvalues)| (row.variant.to_string(), eigenvalues)).collect())
}
