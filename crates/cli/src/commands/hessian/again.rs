//! A spectrum that was saved, computed again from its checkpoint.

use std::{num::NonZeroUsize, path::Path};

use kappa_run::{RunDir, SpectrumSettings};
use kappa_study::{Precision, ProbeError};
use kappa_trainer::Machine;

use super::{Asked, Settings, Subject, network, target};
use crate::{
    args::{Split, StatisticsArgument},
    commands::DataSets,
    error::CliError,
};

/// The eigenvalues of what `saved` describes, largest first, from the checkpoint of `run` after
/// `epoch`. Nothing where it describes no spectrum of a run.
pub fn eigenvalues_again(
    run: &RunDir,
    epoch: usize,
    saved: &SpectrumSettings,
    machine: &Machine,
    data: Option<&Path>,
    sets: &mut DataSets,
) -> Result<Option<Vec<f64>>, CliError> {
    let Some(settings) = settings(saved, machine, data) else { return Ok(None) };
    let target = target::of_run(run, run.manifest()?, Some(epoch), None)?;
    let mut found = None;
    let mut take = |subject: Subject| {
        // With `folded` the unfolded network comes first.
        if subject.settings.network == saved.network {
            let samples = &subject.samples;
            let pairs = samples.hessian().and_then(|hessian| hessian.eigenpairs(samples.epsilon()));
            found = Some(pairs.map_err(ProbeError::from)?.spectrum.eigenvalues().to_vec());
        }
        Ok(())
    };
    network::for_each_subject(&target, &settings, sets, &mut take)?;
    Ok(found)
}

fn settings<'a>(saved: &SpectrumSettings, machine: &'a Machine, data: Option<&Path>) -> Option<Settings<'a>> {
    let (statistics, batch_size) = match saved.bn_statistics.as_deref() {
        None | Some("running") => (StatisticsArgument::Running, None),
        Some("dataset") => (StatisticsArgument::Dataset, None),
        Some(batch) => {
            let size: NonZeroUsize = batch.strip_prefix("batch ")?.parse().ok()?;
            (StatisticsArgument::Batch, Some(size))
        }
    };
    Some(Settings {
        machine,
        precision: Precision::named(&saved.precision)?,
        data: data.map(Path::to_owned),
        split: match saved.split.as_deref()? {
            "train" => Split::Train,
            "validation" => Split::Validation,
            "test" => Split::Test,
            _ => return None,
        },
        limit: Some(saved.samples),
        bias: saved.bias,
        statistics,
        batch_size,
        folded: saved.network.ends_with("folded"),
        asked: Asked::default(),
        quiet: true,
    })
}
