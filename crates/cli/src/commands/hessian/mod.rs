//! `kappa hessian`.
//!
//! ```text
//! target       which checkpoints, and of what run
//! network      a checkpoint and its images -> a subject
//! layer        any network's features and logits, from files -> a subject
//! measure      a subject -> H, its spectrum, the evidence, and what else was asked for
//! matrix_free  a subject -> leading eigenvalues and density, without H
//! again        a spectrum that was saved, computed again
//! memory       what H needs, and what is free
//! table        spectra side by side
//! ```

mod again;
mod layer;
mod matrix_free;
mod measure;
mod memory;
mod network;
mod table;
mod target;

use std::{num::NonZeroUsize, path::PathBuf};

use kappa_hessian::Samples;
use kappa_run::{AdamConfig, RunDir, SpectrumRecord, SpectrumSettings};
use kappa_study::Precision;
use kappa_trainer::{AdamState, Machine};

use super::DataSets;
use crate::{
    args::{HessianArguments, PrecisionArgument, Split, StatisticsArgument},
    backend::{self, Chosen},
    error::CliError,
    output::say,
};
use target::Target;

pub use again::eigenvalues_again;

/// What holds for all targets of one call.
struct Settings<'a> {
    machine: &'a Machine,
    precision: Precision,
    data: Option<PathBuf>,
    split: Split,
    limit: Option<usize>,
    bias: bool,
    statistics: StatisticsArgument,
    batch_size: Option<NonZeroUsize>,
    folded: bool,
    asked: Asked,
    quiet: bool,
}

/// What is asked of each subject.
#[derive(Default)]
struct Asked {
    verify: bool,
    save_matrix: bool,
    directions: bool,
    overlap_with: Vec<usize>,
    subsets: Option<NonZeroUsize>,
    seed: u64,
    matrix_free: Option<matrix_free::Asked>,
}

/// A last layer whose Hessian is asked for, wherever it comes from.
struct Subject {
    settings: SpectrumSettings,
    samples: Samples,
    /// The labels of the samples, where they are known.
    labels: Option<Vec<usize>>,
    /// Their mean loss, where logits say it better than probabilities, which underflow.
    loss: Option<f64>,
    /// The layer's weights [K m], class by class, where they are known.
    weights: Option<Vec<f64>>,
    /// The optimiser's state after the epoch, where it is known and was asked for.
    adam: Option<(AdamState, AdamConfig)>,
    /// The same network after other epochs.
    others: Vec<(usize, Samples)>,
    /// The folder that the results go to.
    out: PathBuf,
    /// Seconds until there were samples.
    seconds: f64,
}

pub fn run(arguments: &HessianArguments) -> Result<(), CliError> {
    let targets = match arguments.layer.features {
        Some(_) => Vec::new(),
        None => target::targets(arguments)?,
    };
    let chosen = backend::choose(arguments.common.backend)?;
    let settings = Settings {
        machine: &chosen.machine,
        precision: PrecisionArgument::or(arguments.precision, chosen.precision),
        data: arguments.data.clone(),
        split: arguments.split,
        limit: arguments.limit.map(NonZeroUsize::get),
        bias: arguments.bias,
        statistics: arguments.bn_stats,
        batch_size: arguments.batch_size,
        folded: arguments.folded,
        asked: Asked {
            verify: !arguments.no_verify,
            save_matrix: arguments.save_matrix,
            // Labels and weights are of no other use.
            directions: arguments.further.directions
                || !arguments.further.overlap_with.is_empty()
                || arguments.layer.labels.is_some()
                || arguments.layer.weights.is_some(),
            overlap_with: arguments.further.overlap_with.clone(),
            subsets: arguments.further.subsets,
            seed: arguments.further.seed,
            matrix_free: matrix_free::Asked::from(&arguments.further),
        },
        quiet: arguments.common.quiet,
    };
    let layer =
        arguments.layer.features.is_some().then(|| layer::subject(arguments, &settings)).transpose()?;
    take(layer, &targets, &settings, DataSets::default())
}

/// The spectra of runs that were just trained on `sets`, at their last epochs.
pub fn of_last_epochs(
    runs: Vec<RunDir>,
    sets: DataSets,
    chosen: Chosen,
    quiet: bool,
) -> Result<(), CliError> {
    let targets = runs
        .iter()
        .map(|run| target::of_run(run, run.manifest()?, None, None))
        .collect::<Result<Vec<_>, _>>()?;
    let settings = Settings {
        machine: &chosen.machine,
        precision: chosen.precision,
        data: None,
        split: Split::Train,
        limit: None,
        bias: false,
        statistics: StatisticsArgument::Running,
        batch_size: None,
        folded: false,
        asked: Asked { verify: true, ..Asked::default() },
        quiet,
    };
    take(None, &targets, &settings, sets)
}

/// Measures the layer, if there is one, and all targets, and prints what came out.
fn take(
    layer: Option<Subject>,
    targets: &[Target],
    settings: &Settings,
    mut sets: DataSets,
) -> Result<(), CliError> {
    if !settings.quiet {
        let machine = settings.machine;
        say(format_args!(
            "Hessian in {} by {} on {}",
            settings.precision.name(),
            machine.provenance.backend,
            machine.provenance.device
        ));
    }
    let mut records = Vec::new();
    let mut measure = |subject: Subject| -> Result<(), CliError> {
        match &settings.asked.matrix_free {
            Some(asked) => matrix_free::measure(&subject, asked, settings),
            None => {
                records.push(measure::measure(subject, settings)?);
                Ok(())
            }
        }
    };
    if let Some(layer) = layer {
        measure(layer)?;
    }
    for target in targets {
        let _lock = target.lock()?;
        let measured = network::for_each_subject(target, settings, &mut sets, &mut measure);
        measured.map_err(|error| match error {
            // Which epoch it was.
            CliError::Probe(source) => {
                CliError::Spectrum { checkpoint: target.checkpoint.display().to_string(), source }
            }
            error => error,
        })?;
    }
    if records.is_empty() {
        return Ok(());
    }
    table::print(&records);
    failures(&records)
}

/// An error that names every check that did not pass.
fn failures(records: &[SpectrumRecord]) -> Result<(), CliError> {
    let failed: Vec<String> = records
        .iter()
        .flat_map(|record| {
            let checks = record.evidence.iter().flat_map(|evidence| &evidence.checks);
            let all = checks.chain(&record.settings.input_checks);
            all.filter(|check| !check.passed)
                .map(|check| format!("{}: {}", record.settings.network, check.name))
        })
        .collect();
    if failed.is_empty() { Ok(()) } else { Err(CliError::Unproven { failed: failed.join(", ") }) }
}
